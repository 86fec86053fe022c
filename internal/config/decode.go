package config

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder writes the settings of one YAML file to a struct. Unlike the library's
// own decoder it names the key at fault, repeats no line of the source (which may
// hold a password) and goes on after a fault.
type decoder struct {
	*faults
	source string
	env    environment
}

// document decodes data to config.
func (d *decoder) document(data []byte, config *Config) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		d.syntax(err)
		return
	}
	seen := false
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if seen {
			d.places[""] = d.place(doc.Body)
			d.at("", "only one YAML document is read; remove this one and the line with ---")
			return
		}
		seen = true
		d.node(doc.Body, reflect.ValueOf(config).Elem(), field{})
	}
}

func (d *decoder) syntax(err error) {
	d.places[""] = place{source: d.source}
	reason := "this is not YAML"
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		if token := syntax.GetToken(); token != nil && token.Position != nil {
			d.places[""] = place{d.source, token.Position.Line, token.Position.Column}
		}
		reason += ": " + syntax.GetMessage()
	}
	d.at("", "%s (inside [ ] and { } quote what has ${ } or : in it)", reason)
}

func (d *decoder) place(n ast.Node) place {
	p := place{source: d.source}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0].Key // its own token is the first colon
	}
	if token := n.GetToken(); token != nil && token.Position != nil {
		p.line, p.column = token.Position.Line, token.Position.Column
	}
	return p
}

// field is what is known of a value from the struct around it.
type field struct {
	key string
	tag reflect.StructTag
}

// node decodes n to v. An absent or null value leaves v as it is.
func (d *decoder) node(n ast.Node, v reflect.Value, f field) {
	if n == nil || n.Type() == ast.NullType {
		return
	}
	d.places[f.key] = d.place(n)
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.TagType, ast.MergeKeyType:
		d.at(f.key, "anchors, aliases, tags and merge keys are not read here; write the value out")
		return
	}
	switch {
	case isScalar(v):
		d.scalar(n, v, f)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, f)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, f)
	case v.Kind() == reflect.Slice:
		d.sequence(n, v, f)
	}
}

func (d *decoder) structure(n ast.Node, v reflect.Value, f field) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.at(f.key, "must be keys and values: %s", strings.Join(keysOf(v.Type()), ", "))
		return
	}
	for _, entry := range m.Values {
		name := entry.Key.GetToken().Value
		inner, tag, ok := lookup(v, name)
		key := join(f.key, name)
		if !ok {
			key = join(f.key, named(name))
			d.places[key] = d.place(entry.Key)
			if suggestion := closest(name, keysOf(v.Type())); suggestion != "" {
				d.at(key, "is not a key; did you mean %s?", suggestion)
			} else {
				d.at(key, "is not a key; the keys here are %s", strings.Join(keysOf(v.Type()), ", "))
			}
			continue
		}
		d.node(entry.Value, inner, field{key, tag})
	}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, f field) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.at(f.key, "must be names, each with its keys and values")
		return
	}
	for _, entry := range m.Values {
		name := entry.Key.GetToken().Value
		if f.tag.Get("letters") != "kept" {
			name = strings.ToLower(name)
		}
		key := f.key + "[" + named(name) + "]"
		if v.MapIndex(reflect.ValueOf(name)).IsValid() {
			d.places[key] = d.place(entry.Key)
			d.at(key, "is there twice, but for the case of its letters")
			continue
		}
		inner := reflect.New(v.Type().Elem()).Elem()
		d.node(entry.Value, inner, field{key, f.tag})
		d.places[key] = d.place(entry.Key)
		v.SetMapIndex(reflect.ValueOf(name), inner)
	}
}

func (d *decoder) sequence(n ast.Node, v reflect.Value, f field) {
	s, ok := n.(*ast.SequenceNode)
	if !ok && f.tag.Get("list") == "or one" {
		list := reflect.MakeSlice(v.Type(), 1, 1)
		d.scalar(n, list.Index(0), f)
		v.Set(list)
		return
	}
	if !ok {
		d.at(f.key, "must be a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values))
	for i, entry := range s.Values {
		key := f.key + "[" + strconv.Itoa(i) + "]"
		if entry == nil || entry.Type() == ast.NullType {
			d.places[key] = d.places[f.key]
			d.at(key, "is empty; remove it or give it a value")
			continue
		}
		d.node(entry, list.Index(i), field{key, f.tag})
	}
	v.Set(list)
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, f field) {
	text := ""
	switch n := n.(type) {
	case *ast.LiteralNode:
		text = n.Value.Value
	case *ast.StringNode:
		text = n.Value
	case ast.ScalarNode:
		text = n.GetToken().Value
	default:
		d.at(f.key, "must be a single value")
		return
	}
	text, err := expand(text, d.env)
	if err == nil {
		err = setScalar(v, text, f.tag)
	}
	if err != nil {
		d.at(f.key, "%s", err)
	}
}

// lookup finds the field of a struct that a key means.
func lookup(v reflect.Value, name string) (reflect.Value, reflect.StructTag, bool) {
	for f := range fieldsOf(v.Type()) {
		if f.Tag.Get("yaml") == name {
			return v.FieldByIndex(f.Index), f.Tag, true
		}
	}
	return reflect.Value{}, "", false
}

// keysOf lists the keys of a struct as it declares them.
func keysOf(t reflect.Type) []string {
	var keys []string
	for f := range fieldsOf(t) {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// fieldsOf walks the fields of a struct that are keys, those of embedded structs
// too.
func fieldsOf(t reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for _, f := range reflect.VisibleFields(t) {
			if !f.Anonymous && !yield(f) {
				return
			}
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// expand replaces ${NAME} by what the environment has for it; $${ stands for ${.
func expand(text string, env environment) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), nil
		}
		if literal, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(literal + "${")
			text = after
			continue
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed || !isVariable(name) {
			return "", errors.New("has a ${ that is not ${NAME}; write $${ for a plain ${")
		}
		value, ok := env[name]
		if !ok {
			return "", fmt.Errorf("needs the environment variable %s, which is not set", name)
		}
		b.WriteString(before + value)
		text = rest
	}
}

func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
