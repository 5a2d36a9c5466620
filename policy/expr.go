package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// DefaultCELCost is the most that one evaluation may cost when Config does not say.
const DefaultCELCost = 10_000

// maxExpr bounds the text of an expression, in characters.
const maxExpr = 4096

// expr is a condition, compiled once for all principals. Safe for concurrent use.
type expr struct {
	text    string
	program cel.Program
}

// eval evaluates the condition. The work is bounded by the cost limit: CEL has no
// unbounded loops, and each step of a macro over a list costs.
func (e *expr) eval(a *activation) (bool, error) {
	out, _, err := e.program.Eval(a)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, errors.New("it did not give true or false")
	}
	return bool(b), nil
}

// environments are those of rules and of commands, which know a target besides.
var environments = sync.OnceValues(func() ([2]*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return [2]*cel.Env{}, err
	}
	rules, err := cel.NewEnv(
		cel.CustomTypeProvider(provider{registry}),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpr),
		cel.ParserRecursionLimit(64),
		cel.Variable("device", deviceType),
		cel.Variable("app", appType),
		cel.Variable("message", messageType),
		cel.Variable("now", cel.TimestampType),
	)
	if err != nil {
		return [2]*cel.Env{}, err
	}
	commands, err := rules.Extend(cel.Variable("target", deviceType))
	return [2]*cel.Env{rules, commands}, err
})

// compileExpr compiles a condition whose first character is at pos.
func (c *compiler) compileExpr(text string, pos manifest.Pos, command bool) *expr {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	envs, err := environments()
	if err != nil {
		c.problem(pos, "the expressions are not to be had: "+err.Error(), "")
		return nil
	}
	env := envs[0]
	if command {
		env = envs[1]
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			at := pos
			if at.Line > 0 {
				at.Line += max(0, e.Location.Line()-1)
				at.Column += max(0, e.Location.Column())
			}
			c.problem(at, exprProblem(text, e.Location.Line(), e.Location.Column()+1, e.Message), exprFix(e.Message))
		}
		return nil
	}
	if ast.OutputType() != cel.BoolType {
		c.problem(pos, fmt.Sprintf("the condition gives %s, not true or false", ast.OutputType()), "compare it with something, such as "+clip(text)+" == true")
		return nil
	}
	limit := c.set.cfg.CELCost
	if limit == 0 {
		limit = DefaultCELCost
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(limit))
	if err != nil {
		c.problem(pos, "the condition cannot be prepared: "+clip(err.Error()), "look at the constants in it, such as regular expressions")
		return nil
	}
	return &expr{text: strings.Join(strings.Fields(text), " "), program: program}
}

// exprProblem says where in the condition something is wrong.
func exprProblem(text string, line, column int, message string) string {
	message, _, _ = strings.Cut(message, " (in container")
	message, _, _ = strings.Cut(message, "\n")
	message, _, _ = strings.Cut(message, " (did you mean")
	if len(message) > 200 {
		message = message[:200] + "…"
	}
	where := "character " + strconv.Itoa(column)
	if strings.Contains(strings.TrimSpace(text), "\n") {
		where = "line " + strconv.Itoa(line) + ", " + where
	}
	return "in the condition at " + where + ": " + message
}

// exprFix suggests a name where one is not known.
func exprFix(message string) string {
	name, ok := quoted(message, "undefined field '")
	if ok {
		all := append(append(append([]string{}, deviceFields.names...), messageFields.names...), appFields.names...)
		return "did you mean `" + nearest(name, all) + "`?"
	}
	if name, ok = quoted(message, "undeclared reference to '"); ok {
		return "did you mean `" + nearest(name, []string{"device", "app", "message", "now", "target", "size", "has"}) + "`?"
	}
	return "conditions are CEL over device, app, message and now, such as message.size < 512"
}

func quoted(s, before string) (string, bool) {
	_, rest, ok := strings.Cut(s, before)
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(rest, "'")
	return name, ok
}

// provider declares the types Device, App and Message, so that a misspelt field is
// found when a manifest is compiled.
type provider struct{ types.Provider }

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if s := structs[name]; s != nil {
		return types.NewTypeTypeWithParam(s.typ), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if s := structs[name]; s != nil {
		return s.names, true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if s := structs[name]; s != nil {
		f, ok := s.fields[field]
		return f, ok
	}
	return p.Provider.FindStructFieldType(name, field)
}

func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if structs[name] != nil {
		return types.NewErr("a %s cannot be made in an expression", name)
	}
	return p.Provider.NewValue(name, fields)
}
