package board

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/imageseed"
	"github.com/skerry-os/skerry/strictyaml"
)

const (
	imagesDir = "images"
	imageFile = "image.yaml"
)

// ContainerImage is a container image that nodes carry with them. Its files are
// its programs, and those of folder root beside it, if there is one.
type ContainerImage struct {
	// Name of its folder.
	Name string `yaml:"-"`
	// What it is for, in a few words.
	Description string `yaml:"description" required:"true" jsonschema:"minLength=1"`
	// What pods call it: registry, name and tag, as in skerry.dev/pause:v1.
	Reference string `yaml:"reference" required:"true" jsonschema:"pattern=^[a-z0-9.-]+/[a-z0-9./_-]+:[A-Za-z0-9._-]+$"`
	// Go programs that are compiled into it. They are without C.
	Go []GoProgram `yaml:"go" required:"true" jsonschema:"minItems=1"`
	// Whom the program runs as: a user's number, or a user's and a group's.
	User string `yaml:"user" required:"true" jsonschema:"pattern=^[0-9]+(:[0-9]+)?$"`
	// The program that is run, and arguments before those of the pod.
	Entrypoint []string `yaml:"entrypoint" required:"true" jsonschema:"minItems=1"`
}

// LoadContainerImage reads a container image. If there is none of this name,
// the error names those that there are.
func LoadContainerImage(fsys fs.FS, name string) (*ContainerImage, error) {
	file := path.Join(imagesDir, name, imageFile)
	if !isName(name) || !exists(fsys, file) {
		return nil, unknown(fsys, "container image", name, imagesDir, imageFile)
	}
	image := &ContainerImage{Name: name}
	doc, err := decode(fsys, file, image)
	if doc == nil {
		return nil, err
	}
	checks{doc, fsys}.containerImage(image)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return image, nil
}

func (c checks) containerImage(image *ContainerImage) {
	c.description(image.Description)
	if c.Has("reference") {
		if err := imageseed.CheckReference(image.Reference); err != nil {
			c.Errorf("reference", "%v", err)
		}
	}
	c.notEmpty("go", len(image.Go))
	c.goPrograms(image.Go)
	for i, program := range image.Go {
		if program.CGO {
			c.Errorf(strictyaml.Path("go").Index(i).Key("cgo"), "a container image's programs are without C")
		}
	}
	if c.Has("user") && !isUser(image.User) {
		c.Errorf("user", "found %.40q: the number of a user, or of user and group, belongs here, as in 65532:65532", image.User)
	}
	c.notEmpty("entrypoint", len(image.Entrypoint))
	if len(image.Entrypoint) > 0 && !slices.ContainsFunc(image.Go, func(p GoProgram) bool { return p.File == image.Entrypoint[0] }) {
		c.Errorf("entrypoint[0]", "found %.80q: the file of one of its programs belongs here", image.Entrypoint[0])
	}
}

// isUser reports whether s is UID or UID:GID.
func isUser(s string) bool {
	user, group, both := strings.Cut(s, ":")
	for _, number := range []string{user, group} {
		if _, err := strconv.ParseUint(number, 10, 31); err != nil && (both || number == user) {
			return false
		}
	}
	return true
}

// images checks the names of container images.
func (c checks) images(names []string) {
	for i, name := range names {
		p := strictyaml.Path("images").Index(i)
		if !isName(name) || !exists(c.fsys, path.Join(imagesDir, name, imageFile)) {
			c.Errorf(p, "found %.40q: there is no %s/%.40s/%s", name, imagesDir, name, imageFile)
		}
		if slices.Index(names, name) < i {
			c.Errorf(p, "found %q twice: keep one", name)
		}
	}
}
