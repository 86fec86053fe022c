package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract is openapi.json as the judge of what the gateway takes and answers.
type contract struct {
	doc  map[string]any
	mux  *http.ServeMux // knows the documented paths
	mu   sync.Mutex
	asIs *jsonschema.Compiler
	// closed refuses every field of an answer that the document doesn't name.
	closed *jsonschema.Compiler
}

// documented is the contract that all tests share.
var documented = sync.OnceValue(func() *contract {
	c := &contract{doc: parse(openAPI).(map[string]any), mux: http.NewServeMux(), asIs: jsonschema.NewCompiler(), closed: jsonschema.NewCompiler()}
	for path := range at(c.doc, "paths") {
		if path == "/" {
			path += "{$}" // alone: others are not documented by it
		}
		c.mux.Handle(path, http.NotFoundHandler())
	}
	strict := parse(openAPI)
	closeObjects(strict)
	for compiler, doc := range map[*jsonschema.Compiler]any{c.asIs: c.doc, c.closed: strict} {
		compiler.DefaultDraft(jsonschema.Draft2020)
		compiler.AssertFormat()
		if err := compiler.AddResource("openapi.json", doc); err != nil {
			panic(err)
		}
	}
	return c
})

func parse(text []byte) any {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	return v
}

// closeObjects lets no schema of an object take other properties than it names.
func closeObjects(v any) {
	switch v := v.(type) {
	case []any:
		for _, entry := range v {
			closeObjects(entry)
		}
	case map[string]any:
		_, named := v["properties"].(map[string]any)
		if _, said := v["additionalProperties"]; named && !said {
			v["additionalProperties"] = false
		}
		for _, entry := range v {
			closeObjects(entry)
		}
	}
}

// at goes down an object; what isn't there is an empty object.
func at(v any, keys ...string) map[string]any {
	for _, key := range keys {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	object, _ := v.(map[string]any)
	return object
}

// resolve follows a reference within the document and says where it led.
func (c *contract) resolve(pointer string) (found map[string]any, where string) {
	v := any(c.doc)
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		v = at(v)[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	if ref, ok := at(v)["$ref"].(string); ok {
		return c.resolve(ref)
	}
	return at(v), pointer
}

func pointer(parts ...string) string {
	for i, part := range parts {
		parts[i] = strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
	}
	return "#/" + strings.Join(parts, "/")
}

// validate holds JSON against the schema at a pointer.
func (c *contract) validate(compiler *jsonschema.Compiler, pointer string, body []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	c.mu.Lock()
	schema, err := compiler.Compile("openapi.json" + pointer)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// exchange is a request and its answer.
type exchange struct {
	request *http.Request
	sent    []byte // of a JSON body, as far as it was read
	status  int
	header  http.Header
	body    []byte
}

// check says what in an exchange the document doesn't have.
func (c *contract) check(x *exchange) error {
	_, path := c.mux.Handler(x.request)
	path = strings.TrimSuffix(path, "{$}")
	method := strings.ToLower(x.request.Method)
	if x.request.Method == http.MethodHead {
		method = "get"
	}
	operation := at(c.doc, "paths", path, method)
	switch {
	case path == "":
		return c.checkElsewhere(x, http.StatusNotFound)
	case operation == nil:
		return c.checkElsewhere(x, http.StatusMethodNotAllowed)
	}
	response, where := c.resolve(pointer("paths", path, method, "responses", strconv.Itoa(x.status)))
	if response == nil {
		return fmt.Errorf("status %d is not documented for %s %s", x.status, method, path)
	}
	var errs []error
	for name := range at(response, "headers") {
		if x.header.Get(name) == "" {
			errs = append(errs, fmt.Errorf("the header %s is documented for status %d, and absent", name, x.status))
		}
	}
	errs = append(errs, c.checkBody(x, response, where))
	if x.status/100 == 2 && len(x.sent) > 0 {
		media, _, err := mime.ParseMediaType(x.request.Header.Get("Content-Type"))
		errs = append(errs, err)
		if err := c.validate(c.asIs, pointer("paths", path, method, "requestBody", "content", media, "schema"), x.sent); err != nil {
			errs = append(errs, fmt.Errorf("a request was taken that is documented otherwise: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (c *contract) checkBody(x *exchange, response map[string]any, where string) error {
	content := at(response, "content")
	if content == nil {
		if len(x.body) > 0 || x.header.Get("Content-Type") != "" {
			return errors.New("a body is not documented")
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(x.header.Get("Content-Type"))
	if err != nil || content[media] == nil {
		return fmt.Errorf("the type %q is not documented", media)
	}
	schema := where + "/" + pointer("content", media, "schema")[2:]
	switch media {
	case mediaJSON, "application/problem+json":
		return c.validate(c.closed, schema, x.body)
	case "text/event-stream":
		var errs []error
		for _, data := range eventData(x.body) {
			errs = append(errs, c.validate(c.closed, schema+"/contentSchema", data))
		}
		return errors.Join(errs...)
	}
	return nil
}

// eventData returns the data of each event of a stream.
func eventData(stream []byte) (all [][]byte) {
	for line := range bytes.Lines(stream) {
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			all = append(all, data)
		}
	}
	return all
}

// checkElsewhere is for what no operation is documented for.
func (c *contract) checkElsewhere(x *exchange, usual int) error {
	if !slices.Contains([]int{usual, http.StatusUnauthorized, http.StatusForbidden}, x.status) {
		return fmt.Errorf("%s %s is answered with %d and not documented", x.request.Method, x.request.URL.Path, x.status)
	}
	if got := x.header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("the type is %q, not a problem", got)
	}
	return c.validate(c.closed, "#/components/schemas/Problem", x.body)
}

// judged checks every answer of a handler.
func (f *fixture) judged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{request: r.Clone(r.Context()), status: http.StatusOK}
		var sent bytes.Buffer
		// A body that will be refused for its length is left as it is: how the
		// server ends the connection then depends on its type.
		if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == mediaJSON && r.ContentLength <= maxTargetBytes {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(r.Body, &sent), r.Body}
		}
		next.ServeHTTP(&recorder{ResponseWriter: w, x: x}, r) // an aborted answer is none
		x.sent, x.header = sent.Bytes(), w.Header()
		if media, _, _ := mime.ParseMediaType(x.header.Get("Content-Type")); media == "" && len(x.body) > 0 {
			x.header = maps.Clone(x.header)
			x.header.Set("Content-Type", http.DetectContentType(x.body)) // as the server does
		}
		if err := documented().check(x); err != nil {
			f.Errorf("%s %s → %d %s\nis not as documented: %v", r.Method, r.URL, x.status, x.body[:min(len(x.body), 500)], err)
		}
	})
}

type recorder struct {
	http.ResponseWriter
	x *exchange
}

func (r *recorder) WriteHeader(status int) {
	r.x.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.x.body = append(r.x.body, p...)
	return r.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// eachOperation calls visit with every documented operation.
func (c *contract) eachOperation(visit func(path, method string, operation map[string]any)) {
	for _, path := range slices.Sorted(maps.Keys(at(c.doc, "paths"))) {
		for _, method := range slices.Sorted(maps.Keys(at(c.doc, "paths", path))) {
			visit(path, method, at(c.doc, "paths", path, method))
		}
	}
}

func text(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}
