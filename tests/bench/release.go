package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/release"
)

// workshop is a place to build in: a copy of the sources, and a cache of its own
// that shares with the user's only the downloaded packages.
type workshop struct {
	*session
	sources string
	cache   string
}

// prepare makes the place to build in, or returns the one there is.
func (s *session) prepare(ctx context.Context) (*workshop, error) {
	w := &workshop{session: s, sources: filepath.Join(s.work, "sources"), cache: filepath.Join(s.work, "cache")}
	if _, err := os.Stat(w.sources); err == nil {
		return w, nil
	}
	if err := s.copySources(ctx, w.sources); err != nil {
		return nil, err
	}
	downloads := filepath.Join(s.cache, "debian")
	for _, dir := range []string{downloads, w.cache} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return w, os.Symlink(downloads, filepath.Join(w.cache, "debian"))
}

// built is a release, and what it cost to build it.
type built struct {
	usage
	dir      string
	manifest *release.Manifest
}

// build runs `builder build` for a board with the release written to dir.
func (w *workshop) build(ctx context.Context, board, dir string, more ...string) (built, error) {
	args := append([]string{"build", "--source", w.sources, "--cache", w.cache, "--board", board, "--output", dir, "--json"}, more...)
	u, err := w.command(ctx, w.work, nil, w.builder, args...)
	if err != nil {
		return built{}, fmt.Errorf("builder build --board %s: %w", board, err)
	}
	manifest, err := release.ParseManifest("what builder printed", []byte(u.stdout))
	return built{usage: u, dir: dir, manifest: manifest}, err
}

// file returns the path of the release's file with that ending.
func (b built) file(ending string) string {
	return filepath.Join(b.dir, fmt.Sprintf("skerry-%s-%s.%s", b.manifest.Version, b.manifest.Board, ending))
}

// digest returns the SHA-256 of the release's file with that ending; empty if
// there is none.
func (b built) digest(ending string) string {
	for _, a := range b.manifest.Artifacts {
		if strings.HasSuffix(a.Name, "."+ending) {
			return a.SHA256.String()
		}
	}
	return ""
}

// steps returns what the builder said of its steps, one a line. The folder is
// of no interest to others.
func (b built) steps() string {
	return strings.TrimSpace(strings.ReplaceAll(b.stderr, " in "+b.dir, ""))
}
