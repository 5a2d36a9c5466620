package uitest

import (
	"strings"
	"testing"
)

func TestInert(t *testing.T) {
	for _, bad := range []string{`<script>x</script>`, `<p style="color:red">`, `<p onclick="x">`, `<img src="https://elsewhere.example/x">`, `<img src="//elsewhere.example/x">`, `<a href="javascript:x">`,
		`<a href=" JavaScript:x">`, `<a href="data:text/html,x">`, `<form action="https://elsewhere.example/">`, `<iframe srcdoc="x">`, `<base href="/">`, `<meta http-equiv="Refresh" content="0">`, `<style>x</style>`,
		`<a hx-vals="js:{x}">`, `<button formaction="http://x/">`, `<svg><use href="https://x/y"></use></svg>`, `<SCRIPT SRC="https://x/y.js"></SCRIPT>`} {
		if len(Inert(strings.NewReader(bad))) == 0 {
			t.Errorf("%s passes", bad)
		}
	}
	good := `<!doctype html><link rel="stylesheet" href="/assets/x/app.css"><script type="module" src="/assets/x/js/app.js"></script><script type="application/json" id="x">{"a":1}</script>
		<a href="/devices?q=x#y">x</a><a href="https://elsewhere.example/">x</a><img src="data:image/png;base64,AA=="><form action="/x"></form>`
	if list := Inert(strings.NewReader(good)); len(list) > 0 {
		t.Error(list)
	}
}
