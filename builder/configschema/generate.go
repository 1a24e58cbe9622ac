package configschema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/strictyaml"
)

const modulePath = "github.com/skerry-os/skerry"

// schemas are the files that Generate makes.
var schemas = []struct {
	file, title string
	value       any
}{
	{"nodeconfig.schema.json", "Skerry node config", nodeconfig.Config{}},
	{"board.schema.json", "Skerry board", board.Board{}},
	{"overlay.schema.json", "Skerry overlay", board.Overlay{}},
	{"modules.schema.json", "Skerry module list", board.ModuleList{}},
	{"image.schema.json", "Skerry container image", board.ContainerImage{}},
}

// Generate returns the schemas by their file names. It takes descriptions from
// the comments in the source code below root, the repository's root folder.
func Generate(root string) (map[string][]byte, error) {
	comments, err := readComments(root, "nodeconfig", "strictyaml", "builder/board")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, s := range schemas {
		r := jsonschema.Reflector{
			FieldNameTag:               "yaml",
			RequiredFromJSONSchemaTags: true, // and so from none: required sets them
			Anonymous:                  true,
			ExpandedStruct:             true,
			Mapper:                     scalar,
			CommentMap:                 comments,
		}
		schema := r.Reflect(s.value)
		required(schema, schema.Definitions, reflect.TypeOf(s.value), map[reflect.Type]bool{})
		schema.Title = s.title
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(schema); err != nil {
			return nil, fmt.Errorf("write %s: %w", s.file, err)
		}
		files[s.file] = out.Bytes()
	}
	return files, nil
}

// readComments returns the comments of types and fields in the form that
// jsonschema looks them up.
func readComments(root string, packages ...string) (map[string]string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	var r jsonschema.Reflector
	for _, p := range packages {
		if err := r.AddGoComments("", filepath.Join(root, p), jsonschema.WithFullComment()); err != nil {
			return nil, fmt.Errorf("read the comments of package %s: %w", p, err)
		}
	}
	comments := map[string]string{}
	for name, text := range r.CommentMap {
		comments[modulePath+strings.TrimPrefix(name, filepath.ToSlash(root))] = strings.Join(strings.Fields(text), " ")
	}
	return comments, nil
}

// scalar returns the schemas of types that are written as text.
func scalar(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern}
	}
	enum := func(values ...string) *jsonschema.Schema {
		s := &jsonschema.Schema{Type: "string"}
		for _, v := range values {
			s.Enum = append(s.Enum, v)
		}
		return s
	}
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return text(`^[0-9A-Fa-f:.]+(%.+)?$`)
	case reflect.TypeFor[netip.Prefix]():
		return text(`^[0-9A-Fa-f:.]+/[0-9]{1,3}$`)
	case reflect.TypeFor[strictyaml.Size]():
		return text(strictyaml.SizePattern)
	case reflect.TypeFor[strictyaml.Duration]():
		s, two := text(strictyaml.DurationPattern), uint64(2)
		s.MinLength = &two
		return s
	case reflect.TypeFor[nodeconfig.MAC]():
		return text(nodeconfig.MACPattern)
	case reflect.TypeFor[nodeconfig.Day]():
		return enum(nodeconfig.DayNames()...)
	case reflect.TypeFor[nodeconfig.TimeOfDay]():
		return text(nodeconfig.TimeOfDayPattern)
	case reflect.TypeFor[nodeconfig.FileMode]():
		return text(nodeconfig.FileModePattern)
	case reflect.TypeFor[nodeconfig.AccessKey]():
		return text(nodeconfig.AccessKeyPattern)
	case reflect.TypeFor[nodeconfig.Role]():
		return enum(string(nodeconfig.RoleServer), string(nodeconfig.RoleAgent))
	}
	return nil
}

// required lists the keys that package strictyaml takes for required, in the
// schema of t and of all that is in it.
func required(schema *jsonschema.Schema, definitions jsonschema.Definitions, t reflect.Type, done map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || scalar(t) != nil || done[t] {
		return
	}
	done[t] = true
	if definition := definitions[t.Name()]; definition != nil {
		schema = definition
	}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Tag.Get("required") == "true" {
			schema.Required = append(schema.Required, name)
		}
		required(schema, definitions, f.Type, done)
	}
}
