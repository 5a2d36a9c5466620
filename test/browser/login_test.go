package browser

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ask posts a form to the authorization server, as `holdfast login` does, and reads
// the answer.
func (s *site) ask(t *testing.T, client *http.Client, path string, form url.Values) (answer map[string]any) {
	t.Helper()
	form.Set("client_id", "holdfast-cli")
	res, err := client.Post(s.ready.API+path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestLogin lets a command line in: it shows a code and a page, the person opens the
// page, looks at what asks, types the code and says yes; then the command line acts as
// them, until it logs out.
func TestLogin(t *testing.T) {
	s := up(t, false)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	client := p.client()
	client.Jar = nil
	asked := s.ask(t, client, "/oauth/device_authorization", url.Values{})
	code, _ := asked["user_code"].(string)
	page, _ := asked["verification_uri"].(string)
	device, _ := asked["device_code"].(string)
	if code == "" || device == "" || !strings.HasSuffix(page, "/device") {
		t.Fatalf("a command line that asks is told %v", asked)
	}
	token := func() map[string]any {
		return s.ask(t, client, "/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device}})
	}
	if early := token(); early["error"] != "authorization_pending" {
		t.Fatalf("before anybody said yes: %v", early)
	}
	p.Go("/device")
	p.fill("device-code", "BCDF-BCDF")
	p.press("Look at it")
	p.wait("the refusal of a code that nobody asked for", `document.querySelector("main .callout, [role=alert]")?.checkVisibility()`)
	p.Go("/device")
	p.fill("device-code", strings.ToLower(code))
	p.press("Look at it")
	p.reads("Is this code on your own screen?")
	p.reads(code)
	p.Axe("letting a command line in")
	p.press("Let it in")
	p.reads("The command line is in")
	p.Axe("a command line that was let in")
	for _, f := range p.Faults() {
		if !strings.Contains(f, "404") { // the code that nobody asked for
			t.Errorf("the browser complained: %s", f)
		}
	}
	var got map[string]any
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Second) { // it has been told to ask every few seconds
		if got = token(); got["access_token"] != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after the yes: %v", got)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.ready.API+"/api/v1/account", nil)
	req.Header.Set("Authorization", "Bearer "+got["access_token"].(string))
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var me map[string]any
	if err := json.NewDecoder(res.Body).Decode(&me); err != nil || res.StatusCode != 200 || !strings.Contains(jsonText(me), "Ada Lovelace") {
		t.Fatalf("the command line is %d %v", res.StatusCode, me)
	}
	p.Go("/account/sign-ins")
	p.reads("ommand line")
}

func jsonText(v any) string { b, _ := json.Marshal(v); return string(b) }
