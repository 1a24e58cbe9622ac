package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/skerry-os/skerry/builder/debian"
)

// maxMkosiRuns bounds what is spent on the alternative.
const maxMkosiRuns = 3

// mkosiFiles is the image that mkosi builds.
//
//go:embed mkosi
var mkosiFiles embed.FS

// mkosi builds a comparable image with mkosi (github.com/systemd/mkosi).
type mkosi struct {
	*session
	args []string
	out  string
}

// newMkosi writes mkosi's configuration and has it build once, which installs
// the packages. They stay in the user's cache for the next benchmark. An error
// says why mkosi cannot be measured.
func newMkosi(ctx context.Context, s *session) (*mkosi, error) {
	if _, err := exec.LookPath("mkosi"); err != nil {
		return nil, errors.New("it is not installed")
	}
	if err := os.CopyFS(s.work, mkosiFiles); err != nil {
		return nil, err
	}
	// mkosi would ask archives of its own choice.
	mirrors, err := debian.HostMirrors(os.DirFS("/"))
	if err != nil {
		return nil, err
	}
	apt := filepath.Join(s.work, "mkosi-apt", "etc/apt/sources.list.d")
	sources := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\n"+
		"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n", mirrors.Archive)
	kept := filepath.Join(filepath.Dir(s.cache), "skerry-bench", "mkosi")
	m := &mkosi{session: s, out: filepath.Join(s.work, "mkosi-out")}
	dirs := map[string]string{
		"output-dir":        m.out,
		"workspace-dir":     filepath.Join(s.work, "mkosi-work"),
		"cache-dir":         filepath.Join(kept, "images"),
		"package-cache-dir": filepath.Join(kept, "packages"),
	}
	m.args = []string{"--directory=" + filepath.Join(s.work, "mkosi"), "--package-manager-tree=" + filepath.Join(s.work, "mkosi-apt"),
		"--incremental", "--force"}
	for option, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		m.args = append(m.args, "--"+option+"="+dir)
	}
	if err := os.MkdirAll(apt, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(apt, "mkosi.sources"), []byte(sources), 0o644); err != nil {
		return nil, err
	}
	s.logf("mkosi, first build")
	_, _, err = m.build(ctx)
	return m, err
}

// build builds the image and returns the size of its file in bytes.
func (m *mkosi) build(ctx context.Context) (usage, int64, error) {
	u, err := m.command(ctx, m.work, nil, "mkosi", append(m.args, "build")...)
	if err != nil {
		return u, 0, errors.New(lastLines(err.Error(), 1))
	}
	info, err := os.Stat(filepath.Join(m.out, "image.raw"))
	if err != nil {
		return u, 0, err
	}
	return u, info.Size(), nil
}
