package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var versionCols = []col[adminapi.PolicyVersion]{
	{title: "VERSION", cell: func(v adminapi.PolicyVersion) string { return strconv.FormatInt(v.Version, 10) }},
	{title: "APPLIED", cell: func(v adminapi.PolicyVersion) string { return when(v.CreatedAt) }},
	{title: "BY", cell: func(v adminapi.PolicyVersion) string { return v.CreatedBy }},
	{title: "BYTES", cell: func(v adminapi.PolicyVersion) string { return strconv.FormatInt(v.Size, 10) }},
	{title: "SHA-256", cell: func(v adminapi.PolicyVersion) string { return v.SHA256 }, detail: true},
	{title: "MESSAGE", cell: func(v adminapi.PolicyVersion) string { return v.Message }},
}

func policyCommand(a *app) *cobra.Command {
	return a.group("policy", "Policy as code: who may say what to whom",
		policyPlan(a), policyApply(a), policyTest(a), policyExplain(a), policyExport(a), policyVersions(a))
}

func policyPlan(a *app) *cobra.Command {
	return &cobra.Command{Use: "plan DIR", Short: "Show what applying manifests would change, and whom it affects", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			plan, err := c.PlanPolicy(cmd.Context(), files)
			if err != nil {
				return err
			}
			if a.output != "table" {
				err = a.encode(plan)
			} else {
				err = a.showPlan(args[0], plan)
			}
			if err == nil && !plan.OK() {
				return errTold
			}
			return err
		}}
}

// showPlan writes a plan for people; what stops it goes to standard error.
func (a *app) showPlan(where string, p adminapi.PolicyPlan) error {
	if len(p.Problems) > 0 {
		a.showProblems(where, p.Problems)
		return nil
	}
	var b strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s %s %s%s\n", c.Kind, c.Name, c.What, allows(c))
		for _, d := range c.Details {
			fmt.Fprintf(&b, "  %s\n", d)
		}
	}
	if len(p.Changes) == 0 {
		b.WriteString("nothing changes\n")
	}
	if n := len(p.Tests); n > 0 {
		fmt.Fprintf(&b, "%s\n", summary(p.Tests))
	}
	if p.Affected == 0 {
		fmt.Fprintf(&b, "affects none of %s\n", count(p.Connected, "connected device"))
	} else {
		fmt.Fprintf(&b, "affects %d of %s:\n", p.Affected, count(p.Connected, "connected device"))
		for _, e := range p.Effects {
			fmt.Fprintf(&b, "  %s\n", effect(e))
		}
		if more := p.Affected - len(p.Effects); more > 0 {
			fmt.Fprintf(&b, "  and %d more\n", more)
		}
	}
	_, err := io.WriteString(a.out, plainLines(b.String()))
	a.showFailed(where, p.Tests)
	return err
}

func allows(c adminapi.PolicyChange) string {
	switch {
	case c.Widens && c.Narrows:
		return ": allows more and less"
	case c.Widens:
		return ": allows more"
	case c.Narrows:
		return ": allows less"
	}
	return ""
}

func effect(e adminapi.PolicyEffect) string {
	name := e.ID
	if e.Kind != "device" {
		name = e.Kind + " " + e.ID
	}
	switch {
	case e.Gone:
		return strings.TrimSuffix(name+" is disconnected: "+e.Why, ": ")
	case len(e.Lost) > 0:
		return name + " loses " + strings.Join(e.Lost, ", ")
	}
	return name + " gets other permissions, and keeps its subscriptions"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func summary(results []adminapi.PolicyTestResult) string {
	bad := 0
	for _, r := range results {
		if !r.Passed {
			bad++
		}
	}
	if bad == 0 {
		return count(len(results), "test case") + " passed"
	}
	return fmt.Sprintf("%d of %s failed", bad, count(len(results), "test case"))
}

func (a *app) showProblems(where string, problems []adminapi.PolicyProblem) {
	for _, p := range problems {
		parts := []string{inFolder(where, p.Place()), p.Text, p.Fix}
		fmt.Fprintln(a.err, plain(strings.Trim(strings.Join(parts, ": "), ": ")))
	}
	fmt.Fprintln(a.err, a.paint(a.err, red, "error:"), count(len(problems), "problem")+" in the manifests: nothing can be applied")
}

func (a *app) showFailed(where string, results []adminapi.PolicyTestResult) {
	failed := 0
	for _, r := range results {
		if r.Passed {
			continue
		}
		failed++
		fmt.Fprintln(a.err, plain(fmt.Sprintf("%s: %s: %s: want %s, got %s", inFolder(where, r.Place()), r.Test, r.Case, r.Want, r.Got)))
	}
	if failed > 0 {
		fmt.Fprintln(a.err, a.paint(a.err, red, "error:"), count(failed, "test case")+" failed")
	}
}

func policyApply(a *app) *cobra.Command {
	in := adminapi.PolicyApply{}
	var from int64
	cmd := &cobra.Command{Use: "apply DIR", Short: "Make manifests the active policy, everywhere within a second", Args: cobra.MaximumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == (from != 0) {
			return &usageError{"what to apply is missing, or given twice", "name the folder of the manifests, or an old version with --from"}
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		where := ""
		if from != 0 {
			old, err := c.Policy(cmd.Context(), from)
			if err != nil {
				return err
			}
			if in.Files = old.Files; in.Message == "" {
				in.Message = fmt.Sprintf("back to version %d", from)
			}
		} else {
			where = args[0]
			if in.Files, err = readPolicy(where); err != nil {
				return err
			}
		}
		plan, err := c.PlanPolicy(cmd.Context(), in.Files)
		if err != nil {
			return err
		}
		if a.output == "table" {
			if err := a.showPlan(where, plan); err != nil {
				return err
			}
		}
		if !plan.OK() {
			if a.output != "table" {
				a.showProblems(where, plan.Problems)
				a.showFailed(where, plan.Tests)
			}
			return errTold
		}
		if !cmd.Flags().Changed("expect") {
			in.Version = plan.Version
		}
		v, err := c.ApplyPolicy(cmd.Context(), in)
		if err != nil {
			return err
		}
		if a.output != "table" {
			return a.encode(v)
		}
		if v.Version == plan.Version {
			_, err = fmt.Fprintf(a.out, "version %d has these files already: nothing to do\n", v.Version)
		} else {
			_, err = fmt.Fprintf(a.out, "version %d is active\n", v.Version)
		}
		return err
	}
	f := cmd.Flags()
	f.StringVarP(&in.Message, "message", "m", "", "why, for the audit log")
	f.Int64Var(&in.Version, "expect", 0, "the active version that this was reviewed against (default: the one that is active)")
	f.Int64Var(&from, "from", 0, "go back to this version")
	return cmd
}

func policyTest(a *app) *cobra.Command {
	return &cobra.Command{Use: "test [DIR]", Short: "Run the tests in manifests, or in the active policy", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var files []adminapi.PolicyFile
			where := strings.Join(args, "")
			if where != "" {
				var err error
				if files, err = readPolicy(where); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			report, err := c.TestPolicy(cmd.Context(), files)
			if err != nil {
				return err
			}
			switch {
			case a.output != "table":
				err = a.encode(report)
			case len(report.Problems) > 0:
				a.showProblems(where, report.Problems)
			case len(report.Results) == 0:
				_, err = fmt.Fprintln(a.err, "there are no tests: write documents of kind PolicyTest")
			default:
				_, err = fmt.Fprintln(a.out, summary(report.Results))
				a.showFailed(where, report.Results)
			}
			if err == nil && !report.OK() {
				return errTold
			}
			return err
		}}
}

func policyVersions(a *app) *cobra.Command {
	var before int64
	var limit int
	cmd := &cobra.Command{Use: "versions", Short: "List what was applied, newest first; the first is active", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			l, err := c.PolicyVersions(cmd.Context(), before, limit)
			if err != nil {
				return err
			}
			if err := printList(a, l.Items, versionCols); err != nil || l.Next == 0 {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: --before %d\n", l.Next)
			return err
		}}
	cmd.Flags().Int64Var(&before, "before", 0, "only versions below this one")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many, 1 to 1000")
	return cmd
}

func policyExport(a *app) *cobra.Command {
	var version int64
	var dir string
	cmd := &cobra.Command{Use: "export", Short: "Write the active policy, or an old version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			p, err := c.Policy(cmd.Context(), version)
			if err != nil {
				return err
			}
			switch {
			case p.Version == 0:
				return fixing("apply one with `holdfast policy apply DIR`", errors.New("no policy was applied yet"))
			case dir != "":
				if err := writePolicy(dir, p.Files); err != nil {
					return err
				}
				return a.say("written", dir, "version %d written to %s: %s", p.Version, dir, count(len(p.Files), "file"))
			case a.output != "table":
				return a.encode(p)
			}
			return a.exportPolicy(p)
		}}
	cmd.Flags().Int64Var(&version, "version", 0, "an old version (default: the active one)")
	cmd.Flags().StringVar(&dir, "dir", "", "write the files as they were applied into a new folder, instead of one document after the other")
	return cmd
}

// exportPolicy writes all documents in one canonical order; comments are in the
// files that --dir writes.
func (a *app) exportPolicy(p adminapi.PolicyDetails) error {
	files := make([]manifest.File, len(p.Files))
	for i, f := range p.Files {
		files[i] = manifest.File{Name: f.Name, Data: []byte(f.Text)}
	}
	set, problems := manifest.Load(files)
	if len(problems) > 0 {
		return fixing("write the files as they are with --dir", fmt.Errorf("version %d was applied by another version of holdfast: %w", p.Version, problems[0]))
	}
	_, err := a.out.Write(set.YAML())
	return err
}

var stepCols = []col[adminapi.ExplainStep]{
	{title: "", cell: func(s adminapi.ExplainStep) string {
		if s.Decides {
			return "→"
		}
		return ""
	}},
	{title: "RULE", cell: func(s adminapi.ExplainStep) string { return s.Rule }},
	{title: "EFFECT", cell: func(s adminapi.ExplainStep) string { return s.Effect }},
	{title: "PATTERN", cell: func(s adminapi.ExplainStep) string { return s.Pattern }},
	{title: "OUTCOME", cell: func(s adminapi.ExplainStep) string { return s.Outcome }},
	{title: "WHY", cell: func(s adminapi.ExplainStep) string { return s.Detail }},
}

func policyExplain(a *app) *cobra.Command {
	var q adminapi.ExplainQuery
	var facts adminapi.PolicyFacts
	var publish, receive, payload, at string
	var retain bool
	cmd := &cobra.Command{Use: "explain", Short: "Say whether somebody may do one thing, and which rule decides", Args: cobra.NoArgs}
	f := cmd.Flags()
	f.StringVar(&q.As, "as", "", "who: device:ID, gateway:ID or app:NAME")
	f.StringVar(&publish, "publish", "", "may it publish on this topic?")
	f.StringVar(&receive, "receive", "", "would a message on this topic be delivered to it?")
	f.StringVar(&q.Subscribe, "subscribe", "", "may it subscribe to this filter?")
	f.StringVar(&q.Connect, "connect", "", "may it connect with this client id?")
	f.StringVar(&payload, "payload", "", "of the message: text, or @FILE (@- for standard input)")
	f.IntVar(&q.QoS, "qos", 0, "of the message or subscription, 0 to 2")
	f.BoolVar(&retain, "retain", false, "the message is retained")
	f.StringVar(&at, "at", "", "when: a time such as 2030-01-31T12:00:00Z (default: now)")
	f.StringVar(&facts.Type, "type", "", "type of a device that is not in the inventory")
	f.StringVar(&facts.Zone, "zone", "", "its zone")
	f.StringVar(&facts.State, "state", "", "its state (default active)")
	f.BoolVar(&facts.Maintenance, "maintenance", false, "somebody works on it")
	labelsVar(f, &facts.Labels, "its label, may be repeated")
	_ = cmd.MarkFlagRequired("as")
	cmd.MarkFlagsOneRequired("publish", "receive", "subscribe", "connect")
	cmd.MarkFlagsMutuallyExclusive("publish", "receive", "subscribe", "connect")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.Changed("type") || f.Changed("zone") || f.Changed("state") || f.Changed("maintenance") || f.Changed("label") {
			kind, id, ok := strings.Cut(q.As, ":")
			if !ok {
				return &usageError{"--as does not say who", "write such as device:pump-1 or app:scada"}
			}
			facts.Kind, facts.ID = kind, id
			q.As, q.Facts = "", &facts
		}
		m, err := a.message(payload, q.QoS, retain)
		if err != nil {
			return err
		}
		if publish != "" {
			m.Topic, q.Publish = publish, m
		} else if receive != "" {
			m.Topic, q.Receive = receive, m
		}
		if q.At, err = moment("at", at); err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		e, err := c.ExplainPolicy(cmd.Context(), q)
		if err != nil {
			return err
		}
		return a.showExplanation(e)
	}
	return cmd
}

// message is a message with the payload that a flag gives.
func (a *app) message(payload string, qos int, retain bool) (*adminapi.PolicyMessage, error) {
	m := &adminapi.PolicyMessage{Payload: payload, QoS: qos, Retain: retain}
	if name, ok := strings.CutPrefix(payload, "@"); ok {
		data, err := a.input(name, 512<<10)
		if err != nil {
			return nil, fmt.Errorf("reading the payload: %w", err)
		}
		m.Payload = string(data)
	}
	if !utf8.ValidString(m.Payload) {
		m.Payload, m.PayloadBase64 = "", []byte(m.Payload) // the right side is read first
	}
	return m, nil
}

func (a *app) showExplanation(e adminapi.Explanation) error {
	if a.output != "table" {
		return a.encode(e)
	}
	verdict := "refused"
	if e.Allowed {
		verdict = "allowed"
	}
	if e.Rule != "" {
		verdict += " by " + e.Rule
	}
	if e.Detail != "" {
		verdict += ": " + e.Detail
	}
	fmt.Fprintln(a.out, plain(verdict))
	if e.Fix != "" {
		fmt.Fprintln(a.out, "fix:", plain(e.Fix))
	}
	who := fmt.Sprintf("%s %s", e.As.Kind, e.As.ID)
	if e.As.Kind != "app" {
		who += fmt.Sprintf(" of type %s in zone %s, %s", e.As.Type, e.As.Zone, e.As.State)
		if e.As.Maintenance {
			who += ", in maintenance"
		}
	}
	fmt.Fprintf(a.out, "asked of policy version %d, for %s\n", e.Version, plain(who))
	if len(e.Steps) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	return printList(a, e.Steps, stepCols)
}
