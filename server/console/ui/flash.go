package ui

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// Tone is what a badge, callout or toast says beside its words.
type Tone string

// The tones. Colour is never the only carrier: each has its own icon.
const (
	Neutral Tone = "neutral"
	Info    Tone = "info"
	Good    Tone = "good"
	Warn    Tone = "warn"
	Bad     Tone = "bad"
)

func (t Tone) class() string {
	switch t {
	case Info, Good, Warn, Bad:
		return string(t)
	}
	return string(Neutral)
}

func (t Tone) icon() string {
	switch t {
	case Good:
		return "check-circle"
	case Warn:
		return "alert"
	case Bad:
		return "x-circle"
	}
	return "info"
}

// flash is a message for the next page. It travels in a cookie that only this
// host can set, is shown once, and is text, so that it carries nothing over.
type flash struct {
	tone Tone
	text string
}

const flashCookie = "__Host-holdfast-note"

func setFlash(w http.ResponseWriter, f flash) {
	value := base64.RawURLEncoding.EncodeToString([]byte(string(f.tone) + "\n" + clip(f.text, 500)))
	http.SetCookie(w, &http.Cookie{Name: flashCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 60})
}

func (r *Request) takeFlash() {
	c, err := r.HTTP.Cookie(flashCookie)
	if err != nil {
		return
	}
	http.SetCookie(r.W, &http.Cookie{Name: flashCookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	b, err := base64.RawURLEncoding.DecodeString(clip(c.Value, 2048))
	tone, text, ok := strings.Cut(string(b), "\n")
	if err == nil && ok && text != "" {
		r.flash = append(r.flash, flash{Tone(tone), strings.ToValidUTF8(text, "")})
	}
}
