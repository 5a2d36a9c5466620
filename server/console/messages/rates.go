package messages

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// windows are the times that can be looked at, and groups what they can be split by.
var (
	windows = []ui.Option{{Value: "15m", Label: "15 min"}, {Value: "1h", Label: "1 h"}, {Value: "6h", Label: "6 h"}, {Value: "24h", Label: "24 h"}}
	groups  = []ui.Option{{Value: "zone", Label: "By zone"}, {Value: "type", Label: "By type"}, {Value: "none", Label: "Together"}}
)

const drawn = 5 // series that have a line of their own

// ratesChoice is what the address decides.
type ratesChoice struct{ window, by string }

// choose takes the first option for what is not offered.
func choose(get func(string) string) ratesChoice {
	pick := func(name string, options []ui.Option) string {
		v := get(name)
		if !slices.ContainsFunc(options, func(o ui.Option) bool { return o.Value == v }) {
			return options[0].Value
		}
		return v
	}
	return ratesChoice{pick("window", windows), pick("by", groups)}
}

func (c ratesChoice) url(path string) string {
	return address(path, "window", unless(c.window, windows[0].Value), "by", unless(c.by, groups[0].Value))
}

func unless(v, standard string) string {
	if v == standard {
		return ""
	}
	return v
}

func (c ratesChoice) windowTabs() (list []ui.Tab) {
	for _, o := range windows {
		list = append(list, ui.Tab{Text: o.Label, Href: ratesChoice{o.Value, c.by}.url("/messages/rates"), Active: o.Value == c.window})
	}
	return list
}

func (c ratesChoice) groupTabs() (list []ui.Tab) {
	for _, o := range groups {
		list = append(list, ui.Tab{Text: o.Label, Href: ratesChoice{c.window, o.Value}.url("/messages/rates"), Active: o.Value == c.by})
	}
	return list
}

// ratesView is what the page shows.
type ratesView struct {
	choice ratesChoice
	rates  adminapi.Rates
	err    error
	r      *ui.Request
}

func gather(r *ui.Request, c ratesChoice) ratesView {
	v := ratesView{choice: c, r: r}
	v.rates, v.err = r.API.Rates(r.Context(), c.window, c.by)
	slices.SortStableFunc(v.rates.Series, func(a, b adminapi.Series) int {
		return cmp.Or(cmp.Compare(total(b.In), total(a.In)), cmp.Compare(a.Name, b.Name))
	})
	return v
}

func rates(r *ui.Request) error {
	return r.Page(page(r, "/messages/rates"), ratesPage(gather(r, choose(r.Query))))
}

func liveRates(r *ui.Request, args ui.Args) (templ.Component, error) {
	v := gather(r, choose(func(name string) string { return args[name] }))
	return ratesBody(v), v.err
}

func exportRates(r *ui.Request) error {
	v := gather(r, choose(r.Query))
	if v.err != nil {
		return v.err
	}
	return table(r, "rates.csv", []string{"begin", "seconds", "what", "name", "received", "sent", "refused"}, func(row func(...string)) {
		number := func(list []int64, i int) string {
			if i < len(list) {
				return strconv.FormatInt(list[i], 10)
			}
			return ""
		}
		for _, s := range v.rates.Series {
			for i := range s.In {
				row(v.rates.From.Add(time.Duration(i*v.rates.Step)*time.Second).Format(time.RFC3339), strconv.Itoa(v.rates.Step), s.What, s.Name, number(s.In, i), number(s.Out, i), number(s.Refused, i))
			}
		}
	})
}

func total(list []int64) (sum int64) {
	for _, v := range list {
		sum += v
	}
	return sum
}

// recently is how many there were a second, in the last minute or step.
func (v ratesView) recently(list []int64) float64 {
	steps := max(1, 60/max(1, v.rates.Step))
	return float64(total(list[max(0, len(list)-steps):])) / float64(steps*max(1, v.rates.Step))
}

func (v ratesView) perSecond(list []int64) []float64 {
	out := make([]float64, len(list))
	for i, n := range list {
		out[i] = float64(n) / float64(max(1, v.rates.Step))
	}
	return out
}

// seriesName is what a series counts, in words.
func seriesName(s adminapi.Series) string {
	switch {
	case s.Name != "":
		return s.Name
	case s.What == "apps":
		return "Apps"
	case s.What == "all":
		return "Everything"
	}
	return "Everything else"
}

// seriesHref leads to who is behind the numbers.
func (v ratesView) seriesHref(s adminapi.Series) string {
	switch s.What {
	case "zone", "type":
		return address("/messages/sessions", s.What, s.Name)
	case "apps":
		return address("/messages/sessions", "kind", "app")
	}
	return ""
}

// tapHref watches what the devices behind the numbers send.
func (v ratesView) tapHref(s adminapi.Series) string {
	if s.What != "zone" && s.What != "type" || !v.r.Can(access.MessageTap) {
		return ""
	}
	return address("/messages/tap", "filter", "#", s.What, s.Name)
}

// chart draws what clients sent, the busiest by themselves and all others together.
func (v ratesView) chart() ui.Chart {
	c := ui.Chart{ID: "rates", Label: "Messages received a second", Unit: "msg/s", Height: 240, Stack: v.choice.by != "none"}
	if len(v.rates.Series) == 0 {
		return c
	}
	for i := range v.rates.Series[0].In {
		c.Times = append(c.Times, v.rates.From.Add(time.Duration(i*v.rates.Step)*time.Second))
	}
	if v.choice.by == "none" {
		s := v.rates.Series[0]
		c.Label = "Messages a second: received, sent and refused"
		c.Series = []ui.Series{{Label: "received", Values: v.perSecond(s.In)}, {Label: "sent", Values: v.perSecond(s.Out)}, {Label: "refused", Tone: ui.Bad, Values: v.perSecond(s.Refused)}}
		return c
	}
	rest := make([]int64, len(c.Times))
	for i, s := range v.rates.Series {
		if i < drawn {
			c.Series = append(c.Series, ui.Series{Label: seriesName(s), Values: v.perSecond(s.In)})
			continue
		}
		for k := range rest {
			rest[k] += s.In[k]
		}
	}
	if len(v.rates.Series) > drawn {
		c.Series = append(c.Series, ui.Series{Label: "all others", Values: v.perSecond(rest)})
	}
	return c
}
