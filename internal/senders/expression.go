package senders

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"

	"github.com/tocsin/tocsin/incident"
)

const (
	maxExpression = 4 << 10 // bytes
	// maxCost bounds one body, maxCostEach one expression, in CEL's units of work: a
	// million of them take some tenths of a second. What is made costs by its size, so
	// that memory is bounded too.
	maxCost     = 2_000_000
	maxCostEach = 200_000
	checkEvery  = 100     // iterations between looks at the context
	maxString   = 8 << 10 // bytes, of a string in the body
)

// newEnvironment is what expressions know: the body, and the item of it that they are
// run for.
func newEnvironment() (*cel.Env, error) {
	env, err := cel.NewEnv(
		cel.Variable("body", cel.DynType), cel.Variable("item", cel.DynType), cel.OptionalTypes(), ext.Strings(),
		cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true), cel.ParserExpressionSizeLimit(maxExpression),
	)
	if err != nil {
		return nil, fmt.Errorf("expressions: %w", err)
	}
	return env, nil
}

// expression is a compiled one, nil where the mapping has none.
type expression struct {
	name    string
	text    string
	program cel.Program
}

// compileExpression checks the type as far as it is known before there is a body.
func compileExpression(env *cel.Env, name, text string, want ...*cel.Type) (*expression, error) {
	bad := func(format string, args ...any) error {
		return &incident.Invalid{Field: name, Reason: fmt.Sprintf(format, args...)}
	}
	if len(text) > maxExpression {
		return nil, bad("must be at most %d bytes", maxExpression)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, bad("is not an expression of CEL: line %d, column %d: %s", first.Location.Line(), first.Location.Column()+1, cut(first.Message))
	}
	got := ast.OutputType()
	if inner := got.Parameters(); got.TypeName() == cel.OptionalType(cel.DynType).TypeName() && len(inner) == 1 {
		got = inner[0]
	}
	fits := got.IsExactType(cel.DynType) || got.IsExactType(cel.NullType)
	var names []string
	for _, t := range want {
		fits = fits || t.IsAssignableType(got)
		names = append(names, cel.FormatCELType(t))
	}
	if !fits {
		return nil, bad("must give %s, and gives %s", strings.Join(names, " or "), cel.FormatCELType(got))
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostTracking(sizes{}), cel.CostLimit(maxCostEach), cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return nil, bad("can't be run: %s", cut(err.Error()))
	}
	return &expression{name, text, program}, nil
}

// sizes has calls cost by the size of what they work on, of which CEL itself takes no
// account where types are known only when it runs.
type sizes struct{}

// CallCost implements cost.ActualCostEstimator.
func (sizes) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	var cost uint64 = 1
	switch function {
	case "size", "_[_]", "_[?_]", "_?._", "_&&_", "_||_", "_?_:_":
		return &cost // whatever the size
	case "matches":
		if len(args) == 2 {
			cost = (1 + extent(args[0])) * (1 + extent(args[1]))
		}
		return &cost
	}
	for _, arg := range args {
		cost += extent(arg)
	}
	cost += extent(result)
	return &cost
}

// extent is the number of entries, or of tens of bytes.
func extent(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v)) / 10
	case types.Bytes:
		return uint64(len(v)) / 10
	case traits.Sizer:
		if n, ok := v.Size().(types.Int); ok && n > 0 {
			return uint64(n)
		}
	}
	return 0
}

// shorten cuts the strings of a body, for a call may make the square of them at once
// before its cost is known. A name can't be cut.
func shorten(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if len(v) > maxString {
			return strings.ToValidUTF8(v[:maxString-len("…")], "") + "…", nil
		}
	case []any:
		for i := range v {
			short, err := shorten(v[i])
			if err != nil {
				return nil, err
			}
			v[i] = short
		}
	case map[string]any:
		for name := range v {
			short, err := shorten(v[name])
			if err != nil || len(name) > maxString {
				return nil, &incident.Invalid{Field: "body", Reason: fmt.Sprintf("must have no names longer than %d bytes", maxString)}
			}
			v[name] = short
		}
	}
	return v, nil
}

// cut keeps a foreign text to one short line.
func cut(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 160 {
		text = strings.ToValidUTF8(text[:160], "") + "…"
	}
	return text
}

// reckoning is what all expressions of one body share.
type reckoning struct {
	ctx   context.Context
	body  any
	item  any
	where string // which item, in words
	spent uint64
}

// value runs an expression; nil stands for nothing: no expression, null, or none.
func (r *reckoning) value(e *expression) (any, error) {
	if e == nil {
		return nil, nil
	}
	if r.spent >= maxCost {
		return nil, r.refuse(e, "takes too long over the whole body; send less at once, or make it simpler")
	}
	v, details, err := e.program.ContextEval(r.ctx, map[string]any{"body": r.body, "item": r.item})
	if cost := details.ActualCost(); cost != nil {
		r.spent += *cost
	}
	if err != nil {
		return nil, r.refuse(e, why(e, err))
	}
	return plain(v), nil
}

func (r *reckoning) refuse(e *expression, reason string) error {
	return &incident.Invalid{Field: "mapping." + e.name, Reason: r.where + reason}
}

var missing = regexp.MustCompile(`^no such (?:key|attribute)[^:]*: "?([A-Za-z_][A-Za-z0-9_]{0,63})`)

// why says what went wrong without anything of the body: a name only if the expression
// has it.
func why(e *expression, err error) string {
	if errors.Is(err, interpreter.InterruptError{}) {
		return "took too long; make it simpler"
	}
	if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok && cancelled.Cause == interpreter.CostLimitExceeded {
		return "takes too long for this body; make it simpler"
	}
	if m := missing.FindStringSubmatch(err.Error()); m != nil && strings.Contains(e.text, m[1]) {
		return "needs the field " + m[1] + ", which isn't there"
	}
	return "can't be reckoned with what the body has: a field is missing, or of another type"
}

// plain turns a value of CEL to one of Go: string, bool, int64, float64, time.Time,
// []any of these, or nil; anything else stays as it is.
func plain(v ref.Val) any {
	switch v := v.(type) {
	case *types.Optional:
		if !v.HasValue() {
			return nil
		}
		return plain(v.GetValue())
	case types.Null:
		return nil
	case types.Timestamp:
		return v.Time
	}
	return v.Value()
}

// text runs an expression that gives a string.
func (r *reckoning) text(e *expression) (string, error) {
	switch v, err := r.value(e); v := v.(type) {
	case nil:
		return "", err
	case string:
		return v, nil
	case int64:
		return fmt.Sprint(v), nil // names are often numbers
	}
	return "", r.refuse(e, "must give a string")
}

func (r *reckoning) truth(e *expression) (bool, error) {
	v, err := r.value(e)
	if err != nil {
		return false, err
	}
	if truth, ok := v.(bool); ok {
		return truth, nil
	}
	return false, r.refuse(e, "must give true or false")
}

// texts runs an expression that gives a string or a list of strings.
func (r *reckoning) texts(e *expression) ([]string, error) {
	v, err := r.value(e)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, entry := range elements(v) {
		text, ok := entry.(string)
		if !ok {
			return nil, r.refuse(e, "must give a string or a list of strings")
		}
		if text != "" {
			list = append(list, text)
		}
	}
	return list, nil
}

// pairs runs an expression that gives a map of names to strings or numbers; those that
// are null are left out.
func (r *reckoning) pairs(e *expression) (map[string]string, error) {
	v, err := r.value(e)
	if err != nil || v == nil {
		return nil, err
	}
	bad := r.refuse(e, "must give a map of names to strings or numbers")
	given, ok := named(v)
	if !ok {
		return nil, bad
	}
	texts := make(map[string]string, len(given))
	for name, value := range given {
		if value == nil {
			continue
		}
		if texts[name], ok = plainText(value); !ok {
			return nil, bad
		}
	}
	return texts, nil
}

// named is a map of CEL as one of Go, if its keys are strings.
func named(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case map[string]any:
		return v, true
	case map[ref.Val]ref.Val:
		given := make(map[string]any, len(v))
		for key, value := range v {
			name, ok := key.Value().(string)
			if !ok {
				return nil, false
			}
			given[name] = plain(value)
		}
		return given, true
	}
	return nil, false
}

// elements are those of a list, or v alone, or none for nil.
func elements(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	case []ref.Val:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	}
	return []any{v}
}

// when runs an expression that gives a time: a timestamp, RFC 3339, or the seconds or
// milliseconds since 1970.
func (r *reckoning) when(e *expression) (time.Time, error) {
	v, err := r.value(e)
	if err != nil {
		return time.Time{}, err
	}
	var t time.Time
	ok := true
	switch v := v.(type) {
	case nil:
		return time.Time{}, nil
	case string:
		t, ok = moment(v)
	case time.Time:
		t = v.UTC()
	case int64:
		t = sinceEpoch(v)
	case float64:
		t = sinceEpoch(int64(v))
	default:
		ok = false
	}
	if !ok || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, r.refuse(e, "must give a time: a timestamp, RFC 3339, or seconds or milliseconds since 1970")
	}
	return t, nil
}

// sinceEpoch takes what would be after the year 5138 for milliseconds.
func sinceEpoch(n int64) time.Time {
	if n >= 1e11 {
		return time.UnixMilli(n).UTC()
	}
	return time.Unix(n, 0).UTC()
}
