package gateway

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tocsin/tocsin/dispatcher"
	"github.com/tocsin/tocsin/incident"
)

// TestRoutesAreDocumented compares the routes with the document, both ways.
func TestRoutesAreDocumented(t *testing.T) {
	c, g := documented(), &gateway{}
	var have, want []string
	for _, r := range g.routes() {
		for method := range r.methods {
			open := ""
			if r.open {
				open = " open"
			}
			have = append(have, method+" "+strings.TrimSuffix(r.path, "{$}")+open)
		}
	}
	c.eachOperation(func(path, method string, operation map[string]any) {
		open := ""
		if security, ok := operation["security"].([]any); ok && len(security) == 0 {
			open = " open"
		}
		want = append(want, strings.ToUpper(method)+" "+path+open)
	})
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the routes are\n%s\ndocumented are\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	guide := readGuide(t)
	for _, route := range have {
		if route, _ := strings.CutSuffix(route, " open"); !strings.Contains(guide, "`"+route+"`") {
			t.Errorf("docs/api.md lacks %s", route)
		}
	}
}

func readGuide(t *testing.T) string {
	t.Helper()
	guide, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(guide)
}

// TestGuideAnswers holds each answer in docs/api.md against the route it stands
// under.
func TestGuideAnswers(t *testing.T) {
	c, answers := documented(), 0
	for part := range strings.SplitSeq(readGuide(t), "\n### ") {
		route := regexp.MustCompile("^`([A-Z]+) (\\S+)`\n").FindStringSubmatch(part)
		_, rest, found := strings.Cut(part, "```json\n")
		if !found {
			continue
		}
		if route == nil {
			t.Fatalf("an answer stands under no route: %.80s", part)
		}
		body, _, _ := strings.Cut(rest, "```")
		answers++
		var errs []error
		for status := range at(c.doc, "paths", route[2], strings.ToLower(route[1]), "responses") {
			if status[0] == '2' {
				errs = append(errs, c.validate(c.closed, pointer("paths", route[2], strings.ToLower(route[1]), "responses", status, "content", mediaJSON, "schema"), []byte(body)))
			}
		}
		if len(errs) == 0 || !slices.Contains(errs, nil) {
			t.Errorf("%s: %v", route[0], errs)
		}
	}
	if answers < 15 {
		t.Errorf("%d answers were found", answers)
	}
}

// TestDocument checks what OpenAPI 3.1 asks of a document, as far as this one uses
// it, and that it is served as it is.
func TestDocument(t *testing.T) {
	c := documented()
	f := start(t, func(f *fixture) { f.opt.Tokens = []string{"a-token-0123456789"} })
	if a := f.get("/openapi.json"); a.status != 200 || !bytes.Equal(a.body, openAPI) {
		t.Errorf("served with %d: %.100s", a.status, a.body)
	}
	if c.doc["openapi"] != "3.1.0" || at(c.doc, "info")["title"] == nil || at(c.doc, "info")["version"] == nil ||
		at(c.doc, "components", "securitySchemes", "token")["scheme"] != "bearer" {
		t.Error("the head of the document is incomplete")
	}
	for _, compiler := range []*jsonschema.Compiler{c.asIs, c.closed} {
		for name := range at(c.doc, "components", "schemas") {
			if err := c.compiles(compiler, pointer("components", "schemas", name)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	var tags []string
	for _, tag := range c.doc["tags"].([]any) {
		tags = append(tags, tag.(map[string]any)["name"].(string))
	}
	ids := map[string]bool{}
	c.eachOperation(func(path, method string, operation map[string]any) {
		at := strings.ToUpper(method) + " " + path
		id, _ := operation["operationId"].(string)
		if id == "" || ids[id] || operation["summary"] == nil {
			t.Errorf("%s: the operationId %q is not unique, or there is no summary", at, id)
		}
		ids[id] = true
		for _, tag := range operation["tags"].([]any) {
			if !slices.Contains(tags, tag.(string)) {
				t.Errorf("%s: the tag %q is not declared", at, tag)
			}
		}
		c.checkParameters(t, at, path, operation)
		c.checkResponses(t, at, path, method, operation)
	})
	c.checkReferences(t)
}

// compiles also checks a schema against JSON Schema's own (draft 2020-12).
func (c *contract) compiles(compiler *jsonschema.Compiler, pointer string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := compiler.Compile("openapi.json" + pointer)
	return err
}

func (c *contract) checkParameters(t *testing.T, at, path string, operation map[string]any) {
	t.Helper()
	var inPath []string
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		inPath = append(inPath, m[1])
	}
	var declared []string
	list, _ := operation["parameters"].([]any)
	for _, entry := range list {
		p, where := c.resolve(entry.(map[string]any)["$ref"].(string))
		if err := c.compiles(c.asIs, where+"/schema"); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		if p["in"] == "path" {
			declared = append(declared, p["name"].(string))
			if p["required"] != true {
				t.Errorf("%s: a parameter of the path is not required", at)
			}
		}
	}
	if !slices.Equal(inPath, declared) {
		t.Errorf("%s: the path has %q, declared are %q", at, inPath, declared)
	}
}

// checkResponses checks that each answer is described, and each example valid.
func (c *contract) checkResponses(t *testing.T, place, path, method string, operation map[string]any) {
	t.Helper()
	for status := range at(operation, "responses") {
		response, where := c.resolve(pointer("paths", path, method, "responses", status))
		if response["description"] == nil {
			t.Errorf("%s: %s is not described", place, status)
		}
		for media, content := range at(response, "content") {
			schema := where + "/" + pointer("content", media, "schema")[2:]
			if example, ok := content.(map[string]any)["example"]; ok {
				if err := c.validate(c.closed, schema, text(example)); err != nil {
					t.Errorf("%s: the example of %s: %v", place, status, err)
				}
			} else if err := c.compiles(c.closed, schema); err != nil {
				t.Errorf("%s: %s: %v", place, status, err)
			}
		}
	}
}

// checkReferences wants every reference to lead somewhere, and to every component.
func (c *contract) checkReferences(t *testing.T) {
	t.Helper()
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, entry := range v {
				walk(entry)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				if found, _ := c.resolve(ref); found == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, entry := range v {
				walk(entry)
			}
		}
	}
	walk(c.doc)
	for kind, components := range at(c.doc, "components") {
		for name := range at(components) {
			if kind != "securitySchemes" && !used[pointer("components", kind, name)] {
				t.Errorf("%s %s is not used", kind, name)
			}
		}
	}
}

// TestCallbackSample holds what producers are told against the document.
func TestCallbackSample(t *testing.T) {
	sample, err := os.ReadFile("../../docs/samples/callback.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := documented().validate(documented().closed, pointer("components", "schemas", "Completion"), sample); err != nil {
		t.Error(err)
	}
}

// TestRequestExamples sends every example of a request: each is valid by its schema,
// and taken.
func TestRequestExamples(t *testing.T) {
	c := documented()
	f := start(t)
	f.target(`{"channel":"webhook","address":"https://a.example/"}`)
	f.post("/v1/incidents", strings.Replace(minimal, "INC-8892", "1", 1)).want(202)
	f.plan(f.accept(1)[0].Plan, 1)
	sent := 0
	c.eachOperation(func(path, method string, operation map[string]any) {
		for media, content := range at(operation, "requestBody", "content") {
			examples := at(content, "examples")
			if examples == nil {
				examples = map[string]any{"only": map[string]any{"value": at(content)["example"]}}
			}
			for name, example := range examples {
				value := at(example)["value"]
				body, raw := value.(string)
				if !raw {
					body = string(text(value))
					if err := c.validate(c.asIs, pointer("paths", path, method, "requestBody", "content", media, "schema"), []byte(body)); err != nil {
						t.Errorf("%s %s, %s: %v", method, path, name, err)
					}
				}
				a := f.send(strings.ToUpper(method), strings.NewReplacer("{id}", "1", "{name}", "monitor").Replace(path), media, strings.NewReader(body))
				if a.status/100 != 2 || strings.Contains(string(a.body), `"line"`) {
					t.Errorf("%s %s, %s: %d %s", method, path, name, a.status, a.body)
				}
				sent++
			}
		}
	})
	if sent < 10 {
		t.Errorf("%d examples were sent", sent)
	}
}

// TestDocumentedWords: the document's words are those of the code.
func TestDocumentedWords(t *testing.T) {
	words := func(schema string) (list []string) {
		for _, v := range at(documented().doc, "components", "schemas", schema)["enum"].([]any) {
			list = append(list, v.(string))
		}
		return list
	}
	for _, s := range words("Status") {
		if !incident.Status(s).Valid() {
			t.Errorf("status %s", s)
		}
	}
	for _, s := range words("Impact") {
		if !incident.Impact(s).Valid() {
			t.Errorf("impact %s", s)
		}
	}
	for _, s := range words("Visibility") {
		if !incident.Visibility(s).Valid() {
			t.Errorf("visibility %s", s)
		}
	}
	for _, o := range dispatcher.Outcomes() {
		if !slices.Contains(words("Outcome"), o.String()) {
			t.Errorf("the outcome %s is not documented", o)
		}
	}
	body := `{"channel":"webhook","address":"https://a.example/"}`
	for _, schema := range []string{"NewTarget", "TargetPatch"} {
		for name := range at(documented().doc, "components", "schemas", schema, "properties") {
			if _, err := incident.DecodeTarget([]byte(`{"` + name + `":null,` + body[1:])); err != nil && name != "channel" && name != "address" {
				t.Errorf("%s: %v", schema, err)
			}
		}
	}
}

// TestTheContractCanFail shows it what is not documented.
func TestTheContractCanFail(t *testing.T) {
	c := documented()
	const good = `{"status":"ok"}`
	problem := `{"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing"}`
	for name, tc := range map[string]struct {
		method, path, sent string
		status             int
		media, body        string
		bad                bool
	}{
		"good":              {"GET", "/healthz", "", 200, mediaJSON, good, false},
		"another field":     {"GET", "/healthz", "", 200, mediaJSON, `{"status":"ok","more":1}`, true},
		"a field less":      {"GET", "/healthz", "", 200, mediaJSON, `{}`, true},
		"another status":    {"GET", "/healthz", "", 404, "application/problem+json", problem, true},
		"another type":      {"GET", "/healthz", "", 200, "text/html", good, true},
		"another route":     {"GET", "/v1/secret", "", 200, mediaJSON, good, true},
		"no route":          {"GET", "/v1/secret", "", 404, "application/problem+json", problem, false},
		"another method":    {"PUT", "/healthz", "", 200, mediaJSON, good, true},
		"a nested field":    {"GET", "/v1/queues", "", 200, mediaJSON, `{"items":[{"queue":"q","ready":0,"held":0,"oldest_at":null,"x":1}]}`, true},
		"a format":          {"GET", "/v1/queues", "", 200, mediaJSON, `{"items":[{"queue":"q","ready":0,"held":0,"oldest_at":"today"}]}`, true},
		"a header less":     {"GET", "/readyz", "", 503, mediaJSON, `{"ready":false,"parts":{}}`, true},
		"a body too much":   {"DELETE", "/v1/targets/1", "", 204, "", "x", true},
		"another request":   {"PATCH", "/v1/targets/1", `{"colour":"red"}`, 200, mediaJSON, "", true},
		"a stream":          {"GET", "/v1/live", "", 200, "text/event-stream", "retry: 1\n\ndata: {}\n\n", true},
		"a field of a list": {"GET", "/v1/incidents", "", 200, mediaJSON, `{"items":[],"next":null,"total":1}`, true},
	} {
		x := &exchange{request: httptest.NewRequest(tc.method, tc.path, nil), sent: []byte(tc.sent), status: tc.status,
			header: http.Header{"Content-Type": {tc.media}}, body: []byte(tc.body)}
		if tc.media == "" {
			x.header = http.Header{}
		}
		if err := c.check(x); (err != nil) != tc.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}
