package configschema_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// schema is what these schemas use of JSON Schema, draft 2020-12. A keyword
// that is not here fails the test that reads it.
type schema struct {
	Version     string             `json:"$schema"`
	Ref         string             `json:"$ref"`
	Defs        map[string]*schema `json:"$defs"`
	Title       string             `json:"title"`
	Description string             `json:"description"`
	Type        string             `json:"type"`
	Enum        []string           `json:"enum"`
	Pattern     string             `json:"pattern"`
	MinLength   int                `json:"minLength"`
	MaxLength   *int               `json:"maxLength"`
	Minimum     *float64           `json:"minimum"`
	Maximum     *float64           `json:"maximum"`
	MinItems    int                `json:"minItems"`
	Items       *schema            `json:"items"`
	Properties  map[string]*schema `json:"properties"`
	Required    []string           `json:"required"`
	Additional  json.RawMessage    `json:"additionalProperties"`
}

func readSchema(t *testing.T, text string) *schema {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	s := new(schema)
	if err := decoder.Decode(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// each calls f for s and all schemas in it.
func (s *schema) each(path string, f func(path string, s *schema)) {
	f(path, s)
	for name, d := range s.Defs {
		d.each(path+"$"+name, f)
	}
	for name, p := range s.Properties {
		p.each(path+"."+name, f)
	}
	if s.Items != nil {
		s.Items.each(path+"[]", f)
	}
}

// validate says what is wrong with value, which encoding/json could have read.
func (s *schema) validate(root *schema, path string, value any) error {
	if s.Ref != "" {
		if err := root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")].validate(root, path, value); err != nil {
			return err
		}
	}
	wrong := func(format string, args ...any) error { return fmt.Errorf(path+": "+format, args...) }
	switch v := value.(type) {
	case string:
		switch {
		case s.Type != "" && s.Type != "string":
			return wrong("text instead of %s", s.Type)
		case s.Enum != nil && !slices.Contains(s.Enum, v):
			return wrong("%q is not in %q", v, s.Enum)
		case s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v):
			return wrong("%q does not match %s", v, s.Pattern)
		case len(v) < s.MinLength || s.MaxLength != nil && len(v) > *s.MaxLength:
			return wrong("%q is too short or too long", v)
		}
	case bool:
		if s.Type != "" && s.Type != "boolean" {
			return wrong("a boolean instead of %s", s.Type)
		}
	case int64:
		switch {
		case s.Type != "" && s.Type != "integer":
			return wrong("a number instead of %s", s.Type)
		case s.Minimum != nil && float64(v) < *s.Minimum || s.Maximum != nil && float64(v) > *s.Maximum:
			return wrong("%d is out of range", v)
		}
	case []any:
		if s.Type != "" && s.Type != "array" || len(v) < s.MinItems {
			return wrong("a list of %d entries instead of %s", len(v), s.Type)
		}
		for i, entry := range v {
			if s.Items == nil {
				break
			}
			if err := s.Items.validate(root, fmt.Sprintf("%s[%d]", path, i), entry); err != nil {
				return err
			}
		}
	case map[string]any:
		if s.Type != "" && s.Type != "object" {
			return wrong("a mapping instead of %s", s.Type)
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return wrong("%s is missing", name)
			}
		}
		for name, member := range v {
			p, ok := s.Properties[name]
			switch {
			case ok:
			case string(s.Additional) == "false":
				return wrong("%s is not known", name)
			case len(s.Additional) > 0 && string(s.Additional) != "true":
				p = new(schema)
				if err := json.Unmarshal(s.Additional, p); err != nil {
					return err
				}
			default:
				continue
			}
			if err := p.validate(root, path+"."+name, member); err != nil {
				return err
			}
		}
	default:
		if s.Type != "" {
			return wrong("%v instead of %s", value, s.Type)
		}
	}
	return nil
}
