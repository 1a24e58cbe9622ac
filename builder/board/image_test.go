package board_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/skerry-os/skerry/builder/board"
)

const pauseYAML = `description: x
reference: skerry.dev/pause:v1
go: [{package: ./images/pause, file: /pause}]
user: "65535:65535"
entrypoint: [/pause]
`

func withImage(yaml string) fstest.MapFS {
	source := repository(small)
	source["images/pause/image.yaml"] = &fstest.MapFile{Data: []byte(yaml)}
	return source
}

func TestWrongContainerImagesAreExplained(t *testing.T) {
	image, err := board.LoadContainerImage(withImage(pauseYAML), "pause")
	if err != nil {
		t.Fatal(err)
	}
	if image.Name != "pause" || image.Reference != "skerry.dev/pause:v1" || image.Go[0].File != "/pause" || image.User != "65535:65535" {
		t.Errorf("got %+v", image)
	}
	for _, test := range []struct{ old, new, want string }{
		{"skerry.dev/pause:v1", "pause:v1", "registry, name and tag belong here"},
		{"skerry.dev/pause:v1", "skerry.dev/Pause:v1", "invalid reference format"},
		{"skerry.dev/pause:v1", "skerry.dev/pause", "registry, name and tag belong here"},
		{`"65535:65535"`, "root", `found "root": the number of a user`},
		{`"65535:65535"`, `"1:"`, `found "1:": the number of a user`},
		{`"65535:65535"`, `"-1"`, `found "-1": the number of a user`},
		{"[/pause]", "[/other]", `found "/other": the file of one of its programs belongs here`},
		{"[/pause]", "[]", "entrypoint: the list is empty"},
		{"file: /pause}", "file: /pause, cgo: true}", "without C"},
		{"./images/pause", "./images/nothing", "there is no folder images/nothing"},
		{"[{package: ./images/pause, file: /pause}]", "[]", "go: the list is empty"},
		{"description: x", "description: x\nfrom: scratch", "from: this key is not known here"},
	} {
		text := strings.Replace(pauseYAML, test.old, test.new, 1)
		if text == pauseYAML {
			t.Fatalf("%s is not in the image", test.old)
		}
		if _, err := board.LoadContainerImage(withImage(text), "pause"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.new, err)
		}
	}
	if _, err := board.LoadContainerImage(withImage(pauseYAML), "../pause"); err == nil || !strings.HasSuffix(err.Error(), "is not known: there are pause") {
		t.Errorf("got %v", err)
	}
}

func TestBoardsNameContainerImagesThatThereAre(t *testing.T) {
	for text, want := range map[string]string{
		"images: [pause]":        "",
		"images: [coredns]":      `images[0]: found "coredns": there is no images/coredns/image.yaml`,
		"images: [pause, pause]": `images[1]: found "pause" twice: keep one`,
	} {
		source := withImage(pauseYAML)
		source["boards/small/board.yaml"] = &fstest.MapFile{Data: []byte(small + text + "\n")}
		_, err := board.Load(source, "small")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

// A reference that says another version than is compiled would be a lie, and
// the same reference for two versions keeps pods on the old one.
func TestContainerImagesHaveTheVersionOfTheirModule(t *testing.T) {
	modules := map[string]string{"coredns": "github.com/coredns/coredns", "metrics-server": "sigs.k8s.io/metrics-server"}
	entries, err := os.ReadDir("../../images")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		image, err := board.LoadContainerImage(os.DirFS("../.."), e.Name())
		if err != nil {
			t.Error(err)
			continue
		}
		module := modules[e.Name()]
		if module == "" {
			continue // our own
		}
		cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module)
		cmd.Dir = filepath.Join("..", "..")
		version, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := "skerry.dev/" + e.Name() + ":" + strings.TrimSpace(string(version)); image.Reference != want {
			t.Errorf("images/%s is %s, and go.mod has what is %s", e.Name(), image.Reference, want)
		}
	}
}

// With other tags, the single binary would be in the root twice.
func TestBatteriesAreTheSingleBinaryOfTheRoot(t *testing.T) {
	source := os.DirFS("../..")
	overlay, err := board.LoadOverlay(source, "cluster")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(overlay.Go, func(p board.GoProgram) bool { return p.File == "/usr/bin/skerry" })
	if i < 0 {
		t.Fatal("the overlay has no /usr/bin/skerry")
	}
	for _, name := range []string{"coredns", "metrics-server"} {
		if !slices.Contains(overlay.Images, name) {
			t.Errorf("the overlay does not bring %s", name)
		}
		image, err := board.LoadContainerImage(source, name)
		if err != nil {
			t.Fatal(err)
		}
		want := overlay.Go[i]
		want.File = "/" + name
		if len(image.Go) != 1 || !reflect.DeepEqual(image.Go[0], want) {
			t.Errorf("images/%s is %+v, and the single binary %+v", name, image.Go, want)
		}
	}
}
