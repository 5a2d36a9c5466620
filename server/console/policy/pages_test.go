package policy_test

import (
	"archive/zip"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/policy"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
	"github.com/holdfast-iot/holdfast/test/house"
)

// The pages, with one fleet that lives for all of it.
func TestPages(t *testing.T) {
	h := house.Open(t, true)
	h.Settled(t)
	t.Run("show", func(t *testing.T) { show(t, h) })
	t.Run("hostile", func(t *testing.T) { hostile(t, h) })
	t.Run("permissions", func(t *testing.T) { permissions(t, h) })
	t.Run("browser", func(t *testing.T) { browser(t, h) })
}

// From the first manifest of an empty house to its second version and back.
func TestFromFirstToSecondVersion(t *testing.T) {
	h := house.Open(t, false)
	pages := h.Pages(t, access.Root(), policy.Mount)
	house.Shows(t, pages, map[string]string{"/policy": "There is no policy yet", "/policy/versions": "No policy was applied yet", "/policy/tests": "There are no tests", "/policy/edit": "plant/${device.zone}/${device.id}/telemetry"})
	send := func(path, text string, more ...string) (*http.Response, string) {
		form := url.Values{"file": {house.Hostile + ".yaml"}, "text": {text}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return house.Post(t, pages, path, form)
	}
	const manifest = "apiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: sensor}\nspec:\n  publish:\n    - {name: telemetry, topics: [\"plant/${device.id}\"]}\n"
	if _, body := send("/policy/plan", strings.Replace(manifest, "spec:", "spce:", 1)); !strings.Contains(body, "to solve first") || !strings.Contains(body, `class="policy-bad"`) || !strings.Contains(body, "spce:") {
		t.Error("a manifest with a mistake is not shown with its line marked")
	} else {
		house.Inert(t, "the editor with problems", body)
	}
	_, body := send("/policy/plan", manifest)
	for _, want := range []string{`data-testid="plan"`, "added:", "DeviceType/", "may allow more", "Apply, to 0 sessions now"} {
		if !strings.Contains(body, want) {
			t.Errorf("the plan has no %q", want)
		}
	}
	house.Inert(t, "the plan", body)
	if _, body := send("/policy/edit", manifest); !strings.Contains(body, "plant/${device.id}") {
		t.Error("what was written is not there to edit further")
	}
	if res, body := send("/policy/apply", manifest, "version", "0", "message", "the first"); res.Header.Get("Location") != "/policy?applied=1" {
		t.Fatalf("applying leads to %q with %d: %s", res.Header.Get("Location"), res.StatusCode, body)
	}
	if res, body := send("/policy/apply", strings.Replace(manifest, "plant/", "site/", 1), "version", "0", "message", "again"); res.StatusCode != http.StatusConflict {
		t.Errorf("applying from a version that is not in force answers %d: %.200s", res.StatusCode, body)
	}
	if res, _ := send("/policy/apply", strings.Replace(manifest, "plant/", "works/", 1), "version", "1", "message", "renamed"); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("the second version answers %d", res.StatusCode)
	}
	house.Shows(t, pages, map[string]string{"/policy?applied=2": "/audit?subject=policy%3A2", "/policy/versions": "renamed", "/policy/versions/2": "What differs from version 1", "/policy/versions/2?view=side": "policy-lines-side",
		"/policy/versions/1": "What going back would change", "/policy/versions/1?with=2": "What differs from version 2", "/policy/edit?from=1": "plant/${device.id}"})
	house.Harmless(t, pages, "/policy", "/policy/versions/2", "/policy/versions/2?view=side", "/policy/edit", "/policy/versions/1")
	code, archive := house.Get(t, pages, "/policy/versions/2/export")
	z, err := zip.NewReader(bytes.NewReader([]byte(archive)), int64(len(archive)))
	if code != 200 || err != nil || len(z.File) != 1 || strings.Contains(z.File[0].Name, "..") {
		t.Errorf("the export answers %d: %v", code, err)
	}
	for _, path := range []string{"/policy/versions/9", "/policy/versions/0", "/policy/versions/x", "/policy/versions/02", "/policy/versions/9/export", "/policy/edit?from=x"} {
		if code, _ := house.Get(t, pages, path); code != 404 {
			t.Errorf("%s answers %d", path, code)
		}
	}
}

func TestPagesOfABrokenHouse(t *testing.T) {
	pages := house.Broken(access.Root(), policy.Mount)
	for _, path := range []string{"/policy", "/policy/versions", "/policy/versions/1", "/policy/tests", "/policy/edit", "/policy/explain?as=app:x&topic=y", "/policy/versions/1/export"} {
		if code, body := house.Get(t, pages, path); !strings.Contains(body, "The server stops") || code != 200 && code != 503 {
			t.Errorf("%s answers %d without saying what is wrong", path, code)
		}
	}
}

const asked = "/policy/explain?as=device%3Alevel-plant-2&action=publish&topic=water%2Friverside-plant%2Fpump-plant-1%2Ftelemetry"

func show(t *testing.T, h *house.House) {
	house.Shows(t, h.Pages(t, access.Root(), policy.Mount), map[string]string{"/policy": "is in force", "/policy/versions/1": "What it began with", "/policy/tests": "passed", asked: "refused",
		"/policy/explain?as=device%3Anobody&action=publish&topic=x": "callout tone-bad", "/policy/edit": "data-editor"})
}

func hostile(t *testing.T, h *house.House) {
	q := url.QueryEscape(house.Hostile)
	pages := h.Pages(t, access.Root(), policy.Mount)
	house.Harmless(t, pages, "/policy/explain?as="+q+"&action="+q+"&topic="+q+"&payload="+q, "/policy/edit?from="+q, "/policy?applied="+q, "/policy/versions/1?with="+q+"&view="+q)
	_, body := house.Post(t, pages, "/policy/plan", url.Values{"file": {house.Hostile}, "text": {"</textarea>" + house.Hostile}})
	house.Inert(t, "a plan", body)
	if strings.Contains(body, "</textarea><script") {
		t.Error("a manifest ends its field")
	}
}

// Who may only read is offered no change.
func permissions(t *testing.T, h *house.House) {
	pages := h.Pages(t, house.Only(access.Scope{}, access.PolicyRead), policy.Mount)
	for _, path := range []string{"/policy", "/policy/versions", "/policy/versions/1", "/policy?applied=1"} {
		if _, body := house.Get(t, pages, path); strings.Contains(body, `href="/policy/edit`) || strings.Contains(body, "/audit?") {
			t.Errorf("%s offers a change to who may only read", path)
		}
	}
	p, err := h.Admin.Policy(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{}
	for _, f := range p.Files {
		form.Add("file", f.Name)
		form.Add("text", strings.Replace(f.Text, "rate: {messages: 30/h, burst: 5}", "rate: {messages: 90/h, burst: 9}", 1))
	}
	if _, body := house.Post(t, pages, "/policy/plan", form); strings.Contains(body, `action="/policy/apply"`) || !strings.Contains(body, "not apply it") || !strings.Contains(body, `class="line-add"`) {
		t.Error("the plan of who may only read offers to apply it, or shows no change")
	}
}

func browser(t *testing.T, h *house.House) {
	b := uitest.Open(t, h.Pages(t, access.Root(), policy.Mount))
	for _, page := range []struct{ name, path string }{{"policy", "/policy"}, {"policy-version-side", "/policy/versions/1?view=side"}, {"policy-tests", "/policy/tests"}, {"policy-explain", asked}, {"policy-edit", "/policy/edit"}} {
		b.Look(page.name, page.path)
	}
	b.View(1280, 900, "light")
	b.Go("/policy/edit")
	write := func(from, to string) {
		if !uitest.Eval[bool](b, `(() => { for (const t of document.querySelectorAll("textarea")) if (t.value.includes("`+from+`")) { t.closest("details").open = true; t.value = t.value.replace("`+from+`", "`+to+`"); t.dispatchEvent(new Event("input", {bubbles: true})); return true; } return false; })()`) {
			t.Fatalf("no file has %q", from)
		}
	}
	write("messages: 30/h", "messages: many")
	b.Do(chromedp.Click(chromedp.CSS(`#edit [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`a[data-line]`)))
	b.Until("the line is marked", `document.querySelector(".policy-bad")`)
	b.Axe("the editor with a problem")
	b.Shot("policy-problem")
	b.Do(chromedp.Click(chromedp.CSS(`a[data-line]`)))
	b.Until("its line is selected", `document.activeElement.tagName === "TEXTAREA" && document.activeElement.value.slice(document.activeElement.selectionStart, document.activeElement.selectionEnd).includes("many")`)
	b.Until("each line has its number", `[...document.querySelectorAll("[data-editor]")].every((e) => e.querySelector("[data-gutter]").childElementCount === e.querySelector("textarea").value.split("\n").length)`)
	write("messages: many", "messages: 90/h")
	b.Do(chromedp.Click(chromedp.CSS(`#edit [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="plan"]`)))
	b.Until("the change is shown", `document.querySelector(".line-add") && document.querySelector(".line-del")`)
	b.Axe("a plan")
	b.Shot("policy-plan-1280")
	b.View(390, 844, "dark")
	b.Shot("policy-plan-390")
	if wide := uitest.Eval[int](b, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("a plan is %d px wide on a phone", wide)
	}
	b.View(1280, 900, "light")
	b.Do(chromedp.Click(chromedp.CSS(`#further [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`#edit`)))
	b.Until("what was written is there", `[...document.querySelectorAll("textarea")].some((t) => t.value.includes("90/h"))`)
	for _, f := range b.Faults() {
		t.Error(f)
	}
	if l, err := h.Admin.PolicyVersions(t.Context(), 0, 10); err != nil || len(l.Items) != 1 {
		t.Errorf("looking at a plan made a version: %v, %v", l, err)
	}
}
