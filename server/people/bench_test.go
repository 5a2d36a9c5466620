package people

import (
	"testing"

	"github.com/holdfast-iot/holdfast/access/password"
)

// BenchmarkResume is what every request of a browser costs.
func BenchmarkResume(b *testing.B) {
	h := open(b)
	_, link, err := h.Invite(b.Context(), admin, Invitation{Name: "maria"})
	if err != nil {
		b.Fatal(err)
	}
	_, in, err := h.AcceptInvite(b.Context(), link.Secret, office)
	if err != nil {
		b.Fatal(err)
	}
	cookie, _, err := h.SetPassword(b.Context(), in, password.Secret{}, password.New(good), office)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := h.Resume(b.Context(), cookie, office); err != nil {
			b.Fatal(err)
		}
	}
}
