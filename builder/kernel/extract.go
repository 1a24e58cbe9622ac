package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/hosttool"
	"github.com/skerry-os/skerry/kmod"
	"golang.org/x/sync/errgroup"
)

// workers is how many processes decompress at once: the build machines have
// two cores.
const workers = 2

// infoFile is written last into the folder of extracted modules.
const infoFile = "modules.json"

// Extract decompresses all modules of the package into a folder below cache,
// named after their contents, and reads what they say about themselves: a
// package has no modules.dep, and which module provides what is known only from
// inside. It takes some 5 s and 500 MB for Debian's kernel, and half a second
// when it was done before.
func (p *Package) Extract(ctx context.Context, cache string) (*Modules, error) {
	m, err := p.extract(ctx, cache)
	if err != nil {
		return nil, fmt.Errorf("extract modules of kernel %s: %w", p.Release, err)
	}
	return m, nil
}

func (p *Package) extract(ctx context.Context, cache string) (*Modules, error) {
	digest, err := p.digest()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "modules-"+digest)
	files, err := readInfos(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err := p.fill(ctx, cache, dir); err != nil {
			return nil, err
		}
		files, err = readInfos(dir)
	}
	if err != nil {
		return nil, err
	}
	// When it was used last; a cache on a read-only disk only ages.
	now := time.Now()
	_ = os.Chtimes(dir, now, now)
	return newModules(p, dir, files)
}

// fill makes dir under another name first, so that it is complete or absent.
func (p *Package) fill(ctx context.Context, cache, dir string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "modules-unfinished-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	infos := make([]kmod.File, len(p.files))
	group, ctx := errgroup.WithContext(ctx)
	for worker := range workers {
		// Neighbours go to different workers: large modules come in groups.
		var mine []int
		for i := worker; i < len(p.files); i += workers {
			mine = append(mine, i)
		}
		group.Go(func() error {
			if err := p.decompress(ctx, work, worker, mine); err != nil {
				return err
			}
			for _, i := range mine {
				file, err := p.readModule(work, p.files[i])
				if err != nil {
					return err
				}
				infos[i] = file
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	text, err := json.Marshal(infos)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, infoFile), text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(work, dir); err != nil {
		if _, statErr := os.Stat(filepath.Join(dir, infoFile)); statErr == nil {
			return nil // another build was faster
		}
		return err
	}
	return nil
}

// decompress has one process of xz for all of a worker's files. xz writes beside
// its input, so the inputs are links.
func (p *Package) decompress(ctx context.Context, work string, worker int, mine []int) error {
	var list strings.Builder
	for _, i := range mine {
		file := p.files[i]
		source, err := filepath.Abs(filepath.Join(p.modules, file))
		if err != nil {
			return err
		}
		to := filepath.Join(work, file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if !strings.HasSuffix(file, ".xz") {
			if err := copyFile(to, source); err != nil {
				return err
			}
			continue
		}
		if err := os.Symlink(source, to); err != nil {
			return err
		}
		list.WriteString(file)
		list.WriteByte('\n')
	}
	if list.Len() == 0 {
		return nil
	}
	name := filepath.Join(work, fmt.Sprintf("xz-%d", worker))
	if err := os.WriteFile(name, []byte(list.String()), 0o600); err != nil {
		return err
	}
	defer os.Remove(name)
	// --force: the inputs are symbolic links. Without --keep they are removed.
	xz := hosttool.Command(ctx, nil, "xz", "--decompress", "--force", "--quiet", "--files="+name)
	xz.Dir = work
	out, err := xz.CombinedOutput()
	return hosttool.Explain(ctx, xz, err, string(out))
}

func copyFile(to, from string) error {
	contents, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, contents, 0o644)
}

func (p *Package) readModule(work, file string) (kmod.File, error) {
	file = strings.TrimSuffix(file, ".xz")
	f, err := os.Open(filepath.Join(work, file))
	if err != nil {
		return kmod.File{}, err
	}
	defer f.Close()
	info, err := kmod.ReadInfo(f)
	if err != nil {
		return kmod.File{}, fmt.Errorf("%s: %w", file, err)
	}
	if built, _, _ := strings.Cut(info.Vermagic, " "); built != p.Release {
		return kmod.File{}, fmt.Errorf("%s is built for kernel %q: the package is mixed with another one", file, built)
	}
	return kmod.File{Path: file, Info: info}, nil
}

// digest is over names and contents of all modules as they are in the package.
func (p *Package) digest() (string, error) {
	sum := sha256.New()
	for _, file := range p.files {
		f, err := os.Open(filepath.Join(p.modules, file))
		if err != nil {
			return "", err
		}
		n, err := io.Copy(sum, f)
		f.Close()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%q %d\n", file, n)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func readInfos(dir string) ([]kmod.File, error) {
	text, err := os.ReadFile(filepath.Join(dir, infoFile))
	if err != nil {
		return nil, err
	}
	var files []kmod.File
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, fmt.Errorf("%s: %w: remove the folder", dir, err)
	}
	return files, nil
}
