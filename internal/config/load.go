package config

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"reflect"
)

// maxFileBytes is the largest file that is read.
const maxFileBytes = 1 << 20

// Setting is what the command line gives a key: a single value, or a list
// separated by commas.
type Setting struct {
	// Flag is named in errors, as in "--listen".
	Flag string
	// Key is the path, as in "retry.base".
	Key   string
	Value string
}

// Load reads the file at path ("" for none) over the defaults, then the
// environment, which is given as [os.Environ] returns it, then the settings, and
// validates the whole. Its error holds every [Problem] found; that the file can't
// be read is another error.
func Load(path string, environ []string, settings ...Setting) (*Config, error) {
	var data []byte
	if path != "" {
		var err error
		if data, err = readFile(path); err != nil {
			return nil, err
		}
	}
	return parse(data, path, newEnvironment(environ), settings)
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the configuration: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if len(data) > maxFileBytes {
		return nil, errors.New("the configuration is larger than 1 MiB; is this the right file?")
	}
	return data, nil
}

func parse(data []byte, source string, env environment, settings []Setting) (*Config, error) {
	c, f := bare(), newFaults()
	(&decoder{faults: f, source: source, env: env}).document(data, c)
	known := make(map[string]bool)
	for key, flat := range flatKeys(reflect.ValueOf(c).Elem(), "") {
		known[key] = true
		name := EnvName(key)
		if value, ok := env[name]; ok {
			f.moved(key, name)
			f.setFlat(flat.value, value, flat.tag, key)
		}
		for _, s := range settings {
			if s.Key == key {
				f.moved(key, s.Flag)
				f.setFlat(flat.value, s.Value, flat.tag, key)
			}
		}
	}
	for _, s := range settings {
		if !known[s.Key] {
			f.moved(s.Key, s.Flag)
			f.at(s.Key, "is not a key that a flag can set")
		}
	}
	env.checkNames(f, data, known)
	c.fill()
	c.check(f)
	if err := f.err(); err != nil {
		return nil, err
	}
	return c, nil
}

type flatKey struct {
	value reflect.Value
	tag   reflect.StructTag
}

// flatKeys walks the keys that have one value or a list of single values, which
// are those the environment can set.
func flatKeys(v reflect.Value, path string) iter.Seq2[string, flatKey] {
	return func(yield func(string, flatKey) bool) {
		for f := range fieldsOf(v.Type()) {
			key, value := join(path, f.Tag.Get("yaml")), v.FieldByIndex(f.Index)
			switch {
			case isScalar(value), value.Kind() == reflect.Slice && isScalar(reflect.New(value.Type().Elem()).Elem()):
				if !yield(key, flatKey{value, f.Tag}) {
					return
				}
			case value.Kind() == reflect.Struct:
				for inner, flat := range flatKeys(value, key) {
					if !yield(inner, flat) {
						return
					}
				}
			}
		}
	}
}
