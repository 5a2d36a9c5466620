package sentences

import (
	"context"
	"io"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Render writes the sentence. It is written here and not by a template because
// every space counts.
func (s Sentence) Render(ctx context.Context, w io.Writer) error {
	for _, p := range s {
		if err := p.Render(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// Text is the piece without anything but words.
func (p Piece) Text() string { return p.text }

// Render writes the piece; who or what with a link to its page.
func (p Piece) Render(ctx context.Context, w io.Writer) error {
	switch p.sort {
	case party:
		return p.link(w)
	case value:
		return element(w, "b", p.text)
	case quote:
		return element(w, "q", p.text)
	case moment:
		return ui.Exact(p.at).Render(ctx, w)
	}
	_, err := io.WriteString(w, templ.EscapeString(p.text))
	return err
}

// element is a text in an element without attributes.
func element(w io.Writer, name, text string) error {
	_, err := io.WriteString(w, "<"+name+">"+templ.EscapeString(text)+"</"+name+">")
	return err
}

func (p Piece) link(w io.Writer) error {
	name, attributes := "span", ""
	if p.href != "" {
		name, attributes = "a", ` href="`+templ.EscapeString(ui.LocalPath(p.href, "/audit"))+`"`
	}
	if p.hint != "" {
		attributes += ` title="` + templ.EscapeString(p.hint) + `"`
	}
	_, err := io.WriteString(w, "<"+name+` class="audit-party"`+attributes+">"+templ.EscapeString(p.text)+"</"+name+">")
	return err
}
