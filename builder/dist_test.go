package builder

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/progress"
)

// planned is a distribution of this repository whose programs are not compiled.
func planned(t *testing.T, architecture string) *dist {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	d := &dist{build: build{progress: progress.Discard(), Options: Options{Source: "..", Version: "1.2.0"}}}
	if err := d.plan(t.Context(), d.progress.Step("plan"), architecture); err != nil {
		t.Fatal(err)
	}
	program := func(name string) artifact {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte("program "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		return artifact{Path: file}
	}
	for _, p := range d.board.Go {
		d.compiled = append(d.compiled, program(path.Base(p.File)))
	}
	for _, image := range d.images {
		var programs []artifact
		for _, p := range image.Go {
			programs = append(programs, program(path.Base(p.File)))
		}
		d.inImages = append(d.inImages, programs)
	}
	return d
}

func TestADistributionHasWhatAnImageHasOfTheCluster(t *testing.T) {
	for _, architecture := range DistArchitectures {
		d := planned(t, architecture)
		if err := d.collect(); err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, e := range d.manifest.Entries {
			paths = append(paths, e.Path)
			if strings.HasPrefix(e.Path, "usr") || strings.HasPrefix(e.Path, "services") {
				t.Errorf("%s: a folder of images is in it: %s", architecture, e.Path)
			}
		}
		for _, want := range []string{"skerry", "runc", "containerd-shim-runc-v2", "cni/bridge", "cni/host-local", "cni/portmap", "images/index.json"} {
			if !slices.Contains(paths, want) {
				t.Errorf("%s: %s is missing", architecture, want)
			}
		}
		if programs := slices.DeleteFunc(paths, func(p string) bool { return !strings.Contains(p, "/rootfs/") }); len(programs) < len(d.images) || len(d.images) == 0 {
			t.Errorf("%s: of %d container images there is %q", architecture, len(d.images), programs)
		}
		if d.manifest.Version != "1.2.0" || d.manifest.Architecture != architecture {
			t.Errorf("%s: manifest of %s for %s", architecture, d.manifest.Version, d.manifest.Architecture)
		}
		if names := namedPackages(d.board); len(names) > 0 {
			t.Errorf("%s: programs of packages are taken: %q", architecture, names)
		}
		if names := sysrootPackages(d.board); !slices.Contains(names, "libseccomp-dev") {
			t.Errorf("%s: C is compiled with %q", architecture, names)
		}
	}
}

func TestAnArchitectureThatThereIsNotIsRefused(t *testing.T) {
	_, err := Dist(t.Context(), DistOptions{Architecture: "riscv64", Cache: t.TempDir()}, progress.Discard())
	if err == nil || !strings.Contains(err.Error(), "there are amd64, arm64") {
		t.Error(err)
	}
}
