package privacy

import (
	"fmt"
	"testing"
)

func TestMarks(t *testing.T) {
	v := compile(t, Rule{Path: "/operator/name", Do: Mask}, Rule{Path: "/operator/badge", Do: Drop}, Rule{Path: "/stops/*/at", Do: Generalize, Unit: "day"},
		Rule{Path: "/a~1b", Do: Hash}, Rule{Path: "/stops/1", Do: Drop}, Rule{Path: "/absent", Do: Drop})
	for payload, want := range map[string]string{
		`{"operator":{"name":"Ada","badge":"7","since":1}}`: "[{/operator/badge drop} {/operator/name mask}] false",
		`{"stops":[{"at":1},{"at":2},{"to":3}],"a/b":null}`: "[{/a~1b hash} {/stops/0/at generalize} {/stops/1 drop}] false",
		`{"flow":1}`:                "[] false",
		`7`:                         "[] false",
		`{"operator":"x"} {}`:       "[] false",
		`{"absent":1,"absent":2}`:   "[] false",
		`[{"operator":{"name":1}}]`: "[] false",
	} {
		if got := fmt.Sprint(v.Marks([]byte(payload), 3)); got != want {
			t.Errorf("%s: got %s, want %s", payload, got, want)
		}
	}
	if list, more := compile(t, Rule{Path: "/*", Do: Drop}).Marks([]byte(`[1,2,3,4]`), 3); len(list) != 3 || !more {
		t.Errorf("got %v, %t", list, more)
	}
	if list, _ := compile(t, Rule{Do: Hash}).Marks([]byte(`{"a":1}`), 3); fmt.Sprint(list) != "[{ hash}]" {
		t.Errorf("of the whole: %v", list)
	}
}
