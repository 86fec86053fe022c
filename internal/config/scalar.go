package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// isScalar says whether v is written as one value.
func isScalar(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	}
	return false
}

// setScalar reads text into v, within the bounds of the tag. Its errors complete
// the sentence that a key begins, and repeat no value.
func setScalar(v reflect.Value, text string, tag reflect.StructTag) error {
	switch to := v.Addr().Interface().(type) {
	case *string:
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return errors.New("must be one line of text without control characters")
		}
		*to = text
	case *bool:
		if text != "true" && text != "false" {
			return errors.New("must be true or false")
		}
		*to = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		least, most := bounds(tag, strconv.Atoi)
		if err != nil || n < least || n > most {
			return fmt.Errorf("must be a whole number from %d to %d", least, most)
		}
		*to = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		least, most := bounds(tag, time.ParseDuration)
		if err != nil || d < least || d > most {
			return fmt.Errorf("must be a duration from %s to %s, such as 500ms, 2s or 24h",
				tag.Get("min"), tag.Get("max"))
		}
		*to = d
	case *netip.Addr:
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return errors.New("must be an IP address of this machine, such as 192.0.2.7")
		}
		*to = a
	case encoding.TextUnmarshaler:
		return to.UnmarshalText([]byte(text))
	default:
		panic("config: no reader for " + v.Type().String())
	}
	return nil
}

func bounds[T any](tag reflect.StructTag, parse func(string) (T, error)) (least, most T) {
	least, errLeast := parse(tag.Get("min"))
	most, errMost := parse(tag.Get("max"))
	if err := errors.Join(errLeast, errMost); err != nil {
		panic("config: a key without bounds: " + err.Error())
	}
	return least, most
}

// setFlat gives v, a scalar or a list of scalars, the value of an environment
// variable or a flag, where lists are separated by commas.
func (f *faults) setFlat(v reflect.Value, text string, tag reflect.StructTag, key string) {
	if isScalar(v) {
		if err := setScalar(v, text, tag); err != nil {
			f.at(key, "%s", err)
		}
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		entry := reflect.New(v.Type().Elem()).Elem()
		if err := setScalar(entry, part, tag); err != nil {
			f.at(key, "each entry of the list, separated by commas, %s", err)
			return
		}
		list = reflect.Append(list, entry)
	}
	v.Set(list)
}
