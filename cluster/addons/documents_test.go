package addons

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %NAME%\ndata:\n  key: value\n"

func named(name string) string { return strings.ReplaceAll(configMap, "%NAME%", name) }

func TestOneBrokenDocumentLeavesTheOthersOfItsFile(t *testing.T) {
	for name, broken := range map[string]string{
		"no YAML":                        "a: [",
		"a tab":                          "kind: ConfigMap\n\tname: x",
		"a key twice":                    "apiVersion: v1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}",
		"no kind":                        "apiVersion: v1\nmetadata: {name: x}",
		"no apiVersion":                  "kind: ConfigMap\nmetadata: {name: x}",
		"no name":                        "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}",
		"no metadata":                    "apiVersion: v1\nkind: ConfigMap",
		"metadata a text":                "apiVersion: v1\nkind: ConfigMap\nmetadata: x",
		"a list":                         "- apiVersion: v1",
		"a text":                         "hello",
		"a number for kind":              "apiVersion: v1\nkind: 7\nmetadata: {name: x}",
		"an annotation that is a number": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {a: 1}}",
	} {
		t.Run(name, func(t *testing.T) {
			documents := parse("f.yaml", []byte(named("one")+"---\n"+broken+"\n---\n"+named("three")))
			if len(documents) != 3 {
				t.Fatalf("%d documents: %+v", len(documents), documents)
			}
			if documents[0].err != nil || documents[2].err != nil {
				t.Errorf("the good ones: %v, %v", documents[0].err, documents[2].err)
			}
			if documents[1].err == nil || documents[1].place != "f.yaml document 2" {
				t.Errorf("the broken one at %q: %v", documents[1].place, documents[1].err)
			}
			if !(source{documents: documents}).broken() {
				t.Error("the source does not count as broken")
			}
		})
	}
}

func TestDocumentsOfAllForms(t *testing.T) {
	for name, c := range map[string]struct {
		file, contents string
		want           []string
	}{
		"empty":                       {"f.yaml", "", nil},
		"comments":                    {"f.yaml", "# nothing\n---\n# here\n", nil},
		"separators at both ends":     {"f.yaml", "---\n" + named("a") + "---\n", []string{"a"}},
		"a comment at the separator":  {"f.yaml", named("a") + "--- # next\n" + named("b"), []string{"a", "b"}},
		"lines that end as Windows's": {"f.yaml", strings.ReplaceAll(named("a")+"---\n"+named("b"), "\n", "\r\n"), []string{"a", "b"}},
		"a list":                      {"f.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n", []string{"a", "b"}},
		"JSON":                        {"f.json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1\n---\n2"}}`, []string{"a"}},
		"separators inside a text":    {"f.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    one\n    ---\n    two\n", []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range parse(c.file, []byte(c.contents)) {
				if d.err != nil {
					t.Fatalf("%s: %v", d.place, d.err)
				}
				got = append(got, d.object.GetName())
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatAServerAddsIsTakenOutOfAManifest(t *testing.T) {
	documents := parse("f.yaml", []byte(`
apiVersion: v1
kind: ConfigMap
metadata: {name: a, uid: "1", resourceVersion: "7", generation: 3, creationTimestamp: "2026-01-01T00:00:00Z", managedFields: [{manager: kubectl}]}
status: {phase: x}
`))
	if len(documents) != 1 || documents[0].err != nil {
		t.Fatalf("%+v", documents)
	}
	object := documents[0].object
	if m := object.Object["metadata"].(map[string]any); len(m) != 1 {
		t.Errorf("metadata %v", m)
	}
	if _, ok := object.Object["status"]; ok {
		t.Error("the status is still there")
	}
}

func TestAFolderGivesItsManifestsAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	for name, contents := range map[string]string{
		"b.yaml": named("b"), "a.yml": named("a"), "c.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`,
		".hidden.yaml": named("x"), "d.yaml~": named("x"), "README": "x", "e.yaml.tmp": named("x"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	large, err := os.Create(filepath.Join(dir, "large.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := large.Truncate(largestFile + 1); err != nil {
		t.Fatal(err)
	}
	large.Close()
	sources, err := readFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sources {
		state := ""
		if s.broken() {
			state = " broken"
		}
		got = append(got, s.name+state)
	}
	want := "manifests/a.yml, manifests/b.yaml, manifests/c.json, manifests/folder.yaml broken, manifests/large.yaml broken, manifests/pipe.yaml broken"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	if sources, err := readFolder(filepath.Join(dir, "missing")); err != nil || len(sources) != 0 {
		t.Errorf("a folder that is missing: %v, %v", sources, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("f.yaml", []byte(named("a")+"---\n"+named("b")))
	f.Add("f.json", []byte(`{"apiVersion":"v1","kind":"List","items":[{}]}`))
	f.Add("f.yaml", []byte("apiVersion: v1\nkind: List\nitems: [null, 3]\n"))
	f.Add("f.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 3}\n"))
	f.Fuzz(func(t *testing.T, place string, contents []byte) {
		for _, d := range parse(place, contents) {
			if d.err == nil && (d.object.GetName() == "" || d.object.GetKind() == "") {
				t.Errorf("%s: an object without a name or kind: %v", d.place, d.object)
			}
			if d.err == nil {
				d.object.DeepCopy() // panics on what is no JSON
			}
		}
	})
}
