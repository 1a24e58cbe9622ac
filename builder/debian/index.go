package debian

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/builder/xz"
)

// indexVersion is part of the names of cached indexes: raise it when
// keptFields or the form of the file changes.
const indexVersion = "1"

const (
	maxIndexLine      = 1 << 20 // bytes; the longest of trixie has 76 kB
	maxIndexBytes     = 1 << 30 // of text; trixie main has 56 MB
	maxIndexFileBytes = 256 << 20
)

// keptFields are the fields of a Packages file that matter here. They are half
// of its text.
var keptFields = []string{
	"Package", "Source", "Version", "Architecture", "Filename", "Size", "SHA256",
	"Depends", "Pre-Depends", "Provides",
}

// index returns the kept text of a Packages file (see keptFields) of this
// content. It is in the cache, or it is fetched, verified, and put there.
func (o *Options) index(ctx context.Context, s store, from suite, r *release, component string, t *tally) (string, error) {
	name := component + "/binary-" + o.Architecture + "/Packages"
	file, ok := r.files[name+".xz"]
	if !ok {
		return "", fmt.Errorf("the suite lists no %s.xz", name)
	}
	if file.size > maxIndexFileBytes {
		return "", fmt.Errorf("%s.xz has %d bytes, which is too much to be true", name, file.size)
	}
	cached := s.path("index", file.sha256+"."+indexVersion)
	if text, ok, err := readIndex(cached); err == nil && ok {
		return text, nil
	}
	t.add(file.size)
	paths := []string{"dists/" + from.name + "/" + name + ".xz"}
	if r.byHash {
		byHash := "dists/" + from.name + "/" + component + "/binary-" + o.Architecture + "/by-hash/SHA256/" + file.sha256
		paths = slices.Insert(paths, 0, byHash)
	}
	limit := int64(maxIndexBytes)
	if plain, ok := r.files[name]; ok {
		limit = min(limit, plain.size)
	}
	var err error
	for _, path := range paths {
		err = twice(ctx, func() error {
			return s.temporary(func(f *os.File) error {
				defer os.Remove(f.Name())
				err := o.download(ctx, from.mirror, path, file, f, t.of(from.name+" "+component))
				if err != nil {
					return err
				}
				if _, err := f.Seek(0, io.SeekStart); err != nil {
					return fmt.Errorf("package cache: %w", err)
				}
				return writeIndex(ctx, s, cached, f, limit)
			})
		})
		// Small mirrors may lack by-hash although the archive has it.
		if !errors.Is(err, errNotFound) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	text, ok, err := readIndex(cached)
	if err == nil && !ok {
		err = fmt.Errorf("package cache: %s has gone", cached)
	}
	return text, err
}

// writeIndex decompresses a verified Packages.xz and caches what is kept of
// it. The first line is the SHA-256 of the rest: unlike a .deb, this file
// cannot be checked against its name.
func writeIndex(ctx context.Context, s store, path string, packed io.Reader, limit int64) error {
	var kept bytes.Buffer
	err := xz.Decompress(ctx, packed, func(r io.Reader) error {
		return keepFields(&kept, io.LimitReader(r, limit+1), limit)
	})
	if err != nil {
		return fmt.Errorf("unpack Packages.xz: %w", err)
	}
	return s.put(path, func(w io.Writer) error {
		sum := sha256.Sum256(kept.Bytes())
		if _, err := io.WriteString(w, hex.EncodeToString(sum[:])+"\n"); err != nil {
			return err
		}
		_, err := w.Write(kept.Bytes())
		return err
	})
}

// readIndex returns a cached index, and false if there is none or it is
// damaged. A component without packages has an empty index. The text is hashed while it is read and never copied: that of main has 28 MB.
func readIndex(path string) (text string, ok bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("package cache: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", false, fmt.Errorf("package cache: %w", err)
	}
	head := make([]byte, 2*sha256.Size+1)
	if _, err := io.ReadFull(f, head); err != nil {
		return "", false, nil
	}
	var kept strings.Builder
	kept.Grow(int(info.Size()))
	sum := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(&kept, sum), struct{ io.Reader }{f}, make([]byte, 256<<10)); err != nil {
		return "", false, fmt.Errorf("package cache: %w", err)
	}
	if string(head) != hex.EncodeToString(sum.Sum(nil))+"\n" {
		return "", false, nil
	}
	return kept.String(), true, nil
}

// keepFields copies the fields that matter, and the blank lines, of a Packages
// file of at most limit bytes.
func keepFields(w *bytes.Buffer, r io.Reader, limit int64) error {
	in := bufio.NewReaderSize(r, maxIndexLine)
	keep := false
	for read := int64(0); ; {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("a line of Packages is longer than %d bytes", maxIndexLine)
		}
		if err != nil && err != io.EOF {
			return err
		}
		if read += int64(len(line)); read > limit {
			return fmt.Errorf("a Packages index of more than %d bytes", limit)
		}
		switch {
		case len(line) == 0:
		case line[0] == '\n':
			w.WriteByte('\n')
		case line[0] != ' ' && line[0] != '\t':
			keep = kept(line)
			fallthrough
		default:
			if keep {
				w.Write(line)
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func kept(line []byte) bool {
	for _, name := range keptFields {
		if len(line) > len(name) && line[len(name)] == ':' && string(line[:len(name)]) == name {
			return true
		}
	}
	return false
}

// parseIndex calls f for every package of an index that can be used on this
// architecture. The packages share their memory with text.
func parseIndex(text, architecture string, f func(*Package) error) error {
	return eachStanza(text, func(stanza string) error {
		p, err := parsePackage(stanza)
		if err != nil {
			return err
		}
		if p.Architecture != architecture && p.Architecture != "all" {
			return nil
		}
		if err := p.check(); err != nil {
			return err
		}
		return f(&p)
	})
}

func parsePackage(stanza string) (Package, error) {
	var p Package
	err := eachField(stanza, func(name, value string) error {
		var err error
		switch name {
		case "Package":
			p.Name = value
		case "Source":
			p.Source = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Architecture = value
		case "Filename":
			p.Filename = value
		case "Size":
			p.Size, err = strconv.ParseInt(value, 10, 64)
		case "SHA256":
			p.SHA256 = value
		case "Depends":
			p.Depends = value
		case "Pre-Depends":
			p.PreDepends = value
		case "Provides":
			p.Provides = value
		}
		return err
	})
	if err != nil {
		return Package{}, fmt.Errorf("package %q: %w", p.Name, err)
	}
	// "Source: name (version)" where they differ from the package's
	// (Debian Policy 5.6.1); absent where they do not.
	source, version, _ := strings.Cut(p.Source, " ")
	p.Source, p.SourceVersion = source, strings.Trim(version, "() ")
	if p.Source == "" {
		p.Source = p.Name
	}
	if p.SourceVersion == "" {
		p.SourceVersion = p.Version
	}
	return p, nil
}
