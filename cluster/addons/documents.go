package addons

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// largestFile is the most that a file of manifests may have, in bytes. The API
// server takes no object larger than 3 MiB.
const largestFile = 8 << 20

// sourceAnnotation on an object names where its manifest is.
const sourceAnnotation = "skerry.dev/source"

// A source is where documents come from: a battery, a file, or the
// configuration.
type source struct {
	name      string
	documents []document
}

// broken tells whether a document of the source cannot be used.
func (s source) broken() bool {
	return slices.ContainsFunc(s.documents, func(d document) bool { return d.err != nil })
}

// A document is one object of a manifest, or what is wrong with it.
type document struct {
	place  string // for people: the file, and which document of it
	object *unstructured.Unstructured
	sum    digest
	err    error
}

type digest [sha256.Size]byte

// readFolder reads all manifests of a folder, in the order of their names. The
// error names files that could not be read: nothing is known of what they say.
func readFolder(dir string) ([]source, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var sources []source
	for _, entry := range entries {
		name := entry.Name()
		if !isManifest(name) {
			continue
		}
		contents, err := readFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since, or a link that leads nowhere
		}
		read := source{name: "manifests/" + name}
		if err != nil {
			read.documents = []document{{place: read.name, err: err}}
		} else {
			read.documents = parse(read.name, contents)
		}
		sources = append(sources, read)
	}
	return sources, nil
}

func isManifest(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

func readFile(path string) ([]byte, error) {
	status, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !status.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: move it away", path)
	}
	if status.Size() > largestFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d: divide it", path, status.Size(), largestFile)
	}
	return os.ReadFile(path)
}

// parse reads the documents of a file. A List becomes its items.
func parse(place string, contents []byte) []document {
	var parts [][]byte
	if strings.HasSuffix(place, ".json") {
		parts = [][]byte{contents}
	} else {
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(contents)))
		for {
			part, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return []document{{place: place, err: err}}
			}
			parts = append(parts, part)
		}
	}
	var documents []document
	for i, part := range parts {
		here := place
		if len(parts) > 1 {
			here = fmt.Sprintf("%s document %d", place, i+1)
		}
		documents = append(documents, parseOne(here, part)...)
	}
	return documents
}

func parseOne(place string, text []byte) []document {
	wrong := func(err error) []document { return []document{{place: place, err: err}} }
	var fields map[string]any
	if err := yaml.UnmarshalStrict(text, &fields); err != nil {
		return wrong(err)
	}
	if len(fields) == 0 {
		return nil // comments
	}
	encoded, err := yaml.YAMLToJSON(text)
	if err != nil {
		return wrong(err)
	}
	for _, key := range []string{"apiVersion", "kind"} {
		if value, ok := fields[key].(string); !ok || value == "" {
			return wrong(fmt.Errorf("it has no %s", key))
		}
	}
	decoded, err := runtime.Decode(unstructured.UnstructuredJSONScheme, encoded)
	if err != nil {
		return wrong(err)
	}
	if list, ok := decoded.(*unstructured.UnstructuredList); ok {
		var documents []document
		for i := range list.Items {
			documents = append(documents, checked(fmt.Sprintf("%s item %d", place, i+1), &list.Items[i]))
		}
		return documents
	}
	return []document{checked(place, decoded.(*unstructured.Unstructured))}
}

// checked refuses what no API server could apply.
func checked(place string, object *unstructured.Unstructured) document {
	d := document{place: place, object: object}
	metadata, ok := object.Object["metadata"].(map[string]any)
	switch {
	case object.GetKind() == "" || object.GetAPIVersion() == "":
		d.err = errors.New("it has no apiVersion and kind")
	case !ok || object.GetName() == "":
		d.err = fmt.Errorf("the %s has no metadata.name; generateName cannot be kept applied", object.GetKind())
	case metadata["annotations"] != nil && object.GetAnnotations() == nil:
		d.err = fmt.Errorf("the annotations of %s %s are not all texts: put them in quotes", object.GetKind(), object.GetName())
	}
	if d.err != nil {
		return d
	}
	// What a server adds has no place in a manifest, and stops it from being
	// applied; `kubectl get -o yaml` writes all of it.
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		delete(metadata, field)
	}
	delete(object.Object, "status")
	encoded, err := object.MarshalJSON()
	if err != nil {
		d.err = err
		return d
	}
	d.sum = sha256.Sum256(encoded)
	return d
}
