package strictyaml

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type decoder struct {
	doc         *Document
	unsupported error // a mistake in the caller's types
}

// problem records what is wrong with n unless it is known already.
func (d *decoder) problem(n *yaml.Node, path Path, text string) {
	d.doc.add(Problem{Line: n.Line, Column: n.Column, Path: path, Text: text})
}

// value decodes n into v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path Path, secret bool) {
	if n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0 {
		return // reported by check
	}
	if v.Kind() == reflect.Interface && v.NumMethod() == 0 {
		if free, ok := d.free(n, path, secret, 1); ok && free != nil {
			v.Set(reflect.ValueOf(free))
		}
		return
	}
	if isNull(n) {
		d.problem(n, path, "there is no value: "+wanted(v.Type())+" belongs here; to leave it out, remove the key")
		return
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), path, secret)
		v.Set(p)
		return
	}
	// Types of packages that know nothing of YAML have plain durations.
	if duration, ok := v.Addr().Interface().(*time.Duration); ok {
		v = reflect.ValueOf((*Duration)(duration)).Elem()
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(n, path, secret, v.Type(), func(s string) error { return text.UnmarshalText([]byte(s)) })
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if n.Kind != yaml.MappingNode {
			d.mismatch(n, path, v.Type(), true)
			return
		}
		d.structure(n, v, path, secret)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.mismatch(n, path, v.Type(), true)
			return
		}
		list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, entry := range n.Content {
			d.value(entry, list.Index(i), path.Index(i), secret)
		}
		v.Set(list)
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			d.unsupportedType(v.Type())
			return
		}
		if n.Kind != yaml.MappingNode {
			d.mismatch(n, path, v.Type(), true)
			return
		}
		m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
		for key, value := range entries(n) {
			element := reflect.New(v.Type().Elem()).Elem()
			d.value(value, element, path.Key(key.Value), secret)
			m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), element)
		}
		v.Set(m)
	case reflect.String:
		d.text(n, path, secret, v.Type(), func(s string) error { v.SetString(s); return nil })
	case reflect.Bool:
		d.boolean(n, v, path, secret)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.integer(n, v, path, secret)
	default:
		d.unsupportedType(v.Type())
	}
}

func (d *decoder) unsupportedType(t reflect.Type) {
	d.unsupported = fmt.Errorf("read %s: Go type %v cannot be read from YAML", d.doc.name, t)
}

// mismatch records that n is of another kind than t. Text in the place of a
// mapping or list is not repeated: a token may have slipped out of its key.
func (d *decoder) mismatch(n *yaml.Node, path Path, t reflect.Type, secret bool) {
	d.problem(n, path, "found "+describe(n, secret)+": "+wanted(t)+" belongs here")
}

// field is a key that a struct knows.
type field struct {
	name             string
	index            []int
	required, secret bool
}

// fields returns the keys of a struct and of the structs embedded in it.
func fields(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			for _, inner := range fields(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				list = append(list, inner)
			}
		case f.IsExported() && name != "" && name != "-":
			list = append(list, field{
				name: name, index: []int{i},
				required: f.Tag.Get("required") == "true",
				secret:   f.Tag.Get("secret") == "true",
			})
		}
	}
	return list
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path Path, secret bool) {
	known := fields(v.Type())
	found := make([]bool, len(known))
	for key, value := range entries(n) {
		at := -1
		for i := range known {
			if known[i].name == key.Value {
				at = i
			}
		}
		if at < 0 {
			d.unknownKey(key, known, path)
			continue
		}
		found[at] = true
		f := known[at]
		d.value(value, v.FieldByIndex(f.index), path.Key(f.name), secret || f.secret)
	}
	for i, f := range known {
		if f.required && !found[i] {
			line, column := d.doc.Position(path.Key(f.name))
			d.doc.add(Problem{Line: line, Column: column, Path: path.Key(f.name),
				Text: "this key is missing: " + wanted(v.FieldByIndex(f.index).Type()) + " is needed"})
		}
	}
}

func (d *decoder) unknownKey(key *yaml.Node, known []field, path Path) {
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	// `token:K10…` without a space is one long key, and what follows the
	// colon may be a secret.
	if name, _, ok := strings.Cut(key.Value, ":"); ok {
		for _, n := range names {
			if n == name {
				d.problem(key, path.Key(name), "there is no space after the colon")
				return
			}
		}
		d.problem(key, path, "found an unknown key with a colon in it; "+suggest("", names))
		return
	}
	if len(key.Value) > maxEcho {
		d.problem(key, path, "found an unknown key; "+suggest("", names))
		return
	}
	d.problem(key, path.Key(key.Value), "this key is not known here; "+suggest(key.Value, names))
}

// text hands a scalar that is text to set.
func (d *decoder) text(n *yaml.Node, path Path, secret bool, t reflect.Type, set func(string) error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.mismatch(n, path, t, secret)
	case !isText(n) && secret:
		d.problem(n, path, "found "+describe(n, true)+": text belongs here; put it in quotes")
	case !isText(n):
		hint := fmt.Sprintf("text belongs here; put it in quotes: %q", echo(n.Value))
		if err := set(n.Value); err != nil {
			hint = explain(t, err)
		}
		d.problem(n, path, "found "+describe(n, false)+": "+hint)
	default:
		err := set(n.Value)
		if err != nil && secret {
			d.problem(n, path, "the value is not valid")
		} else if err != nil {
			d.problem(n, path, fmt.Sprintf("found %q: %s", echo(n.Value), explain(t, err)))
		}
	}
}

func (d *decoder) boolean(n *yaml.Node, v reflect.Value, path Path, secret bool) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" && !isQuoted(n) {
		v.SetBool(strings.EqualFold(n.Value, "true"))
		return
	}
	text := "found " + describe(n, secret) + ": true or false belongs here"
	if n.Kind == yaml.ScalarNode {
		switch strings.ToLower(n.Value) {
		case "yes", "on", "y":
			text += "; write true"
		case "no", "off", "n":
			text += "; write false"
		case "true", "false":
			text += "; remove the quotes"
		}
	}
	d.problem(n, path, text)
}

func (d *decoder) integer(n *yaml.Node, v reflect.Value, path Path, secret bool) {
	if n.Kind != yaml.ScalarNode || isQuoted(n) || n.Tag != "!!int" {
		text := "found " + describe(n, secret) + ": a whole number belongs here"
		if n.Kind == yaml.ScalarNode && isQuoted(n) && isDecimal(n.Value) {
			text += "; remove the quotes"
		}
		d.problem(n, path, text)
		return
	}
	if !isDecimal(n.Value) {
		d.problem(n, path, notDecimal(n, secret)+"; write it with the digits 0 to 9, not beginning with 0")
		return
	}
	bits := v.Type().Bits()
	if v.CanInt() {
		i, err := strconv.ParseInt(n.Value, 10, bits)
		if err == nil {
			v.SetInt(i)
			return
		}
	} else if u, err := strconv.ParseUint(n.Value, 10, bits); err == nil {
		v.SetUint(u)
		return
	}
	d.problem(n, path, "found "+describe(n, secret)+": the number is out of range")
}

// free decodes a value of no known type: into maps, slices, strings, bools,
// int64, float64 and nil.
func (d *decoder) free(n *yaml.Node, path Path, secret bool, depth int) (any, bool) {
	switch {
	case n.Kind == yaml.AliasNode, n.Style&yaml.TaggedStyle != 0, depth > MaxDepth:
		return nil, false
	case n.Kind == yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, entry := range n.Content {
			value, _ := d.free(entry, path.Index(i), secret, depth+1)
			list = append(list, value)
		}
		return list, true
	case n.Kind == yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for key, value := range entries(n) {
			m[key.Value], _ = d.free(value, path.Key(key.Value), secret, depth+1)
		}
		return m, true
	case isText(n):
		return n.Value, true
	case isNull(n):
		return nil, true
	case n.Tag == "!!bool":
		return strings.EqualFold(n.Value, "true"), true
	case n.Tag == "!!int" && !isDecimal(n.Value):
		d.problem(n, path, notDecimal(n, secret)+"; put it in quotes, or write it in decimal")
		return nil, false
	case n.Tag == "!!int":
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if err != nil {
			d.problem(n, path, "found "+describe(n, secret)+": the number is out of range")
		}
		return i, err == nil
	case n.Tag == "!!float":
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || f-f != 0 { // infinities and NaN have no place in JSON
			d.problem(n, path, "found "+describe(n, secret)+": this is not a finite decimal number; put it in quotes if it is text")
			return nil, false
		}
		return f, true
	}
	d.problem(n, path, "found "+describe(n, secret)+", which cannot be used here")
	return nil, false
}

// entries yields the keys and values of a mapping, without the keys that
// check has refused and without duplicates.
func entries(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Tag == "!!merge" || !isText(key) || key.Style&yaml.TaggedStyle != 0 ||
				strings.ContainsAny(key.Value, "\n\r") || seen[key.Value] {
				continue
			}
			seen[key.Value] = true
			if !yield(key, n.Content[i+1]) {
				return
			}
		}
	}
}
