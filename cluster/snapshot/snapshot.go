// Package snapshot keeps copies of a cluster's datastore as files, and brings
// one back.
//
// A snapshot is a file of the datastore's own kind, named after how it came
// about, the datastore, the time and the revision:
//
//	auto-sqlite-20260301T120000Z-r1234.db
//
// Beside it is its SHA-256, as sha256sum writes it. Only who may read the
// datastore may read either. Secrets in a snapshot are as encrypted as they are
// in the datastore: it is of no use without the server's authorities and its
// encryption key, which do not change and are not in it.
package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/datastore"
	"github.com/skerry-os/skerry/nodeconfig"
)

// Folder is where snapshots are below a server's folder.
const Folder = "snapshots"

// How a snapshot came about.
const (
	Automatic = "auto"   // as many are kept as the settings say
	Manual    = "manual" // all are kept
)

const (
	timeFormat   = "20060102T150405Z" // ISO 8601, basic
	digestSuffix = ".sha256"
	partPrefix   = ".part-"
)

var nameForm = regexp.MustCompile(`^(auto|manual)-(sqlite|etcd)-([0-9]{8}T[0-9]{6}Z)-r([0-9]{1,18})\.db$`)

// Snapshot is one that there is.
type Snapshot struct {
	Path      string    `json:"path"`
	How       string    `json:"how"`
	Datastore string    `json:"datastore"`
	Time      time.Time `json:"time"`
	Revision  int64     `json:"revision"`
	Bytes     int64     `json:"bytes"`
}

// parse reads a snapshot's name.
func parse(path string) (Snapshot, bool) {
	parts := nameForm.FindStringSubmatch(filepath.Base(path))
	if parts == nil {
		return Snapshot{}, false
	}
	at, err := time.Parse(timeFormat, parts[3])
	if err != nil {
		return Snapshot{}, false
	}
	revision, err := strconv.ParseInt(parts[4], 10, 64)
	return Snapshot{Path: path, How: parts[1], Datastore: parts[2], Time: at, Revision: revision}, err == nil
}

// List returns the snapshots in a folder, the latest first. A folder that is
// not there has none.
func List(dir string) ([]Snapshot, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Snapshot
	for _, entry := range entries {
		s, ok := parse(filepath.Join(dir, entry.Name()))
		if !ok {
			continue
		}
		if status, err := entry.Info(); err == nil {
			s.Bytes = status.Size()
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(x, y Snapshot) int {
		if order := y.Time.Compare(x.Time); order != 0 {
			return order
		}
		return int(y.Revision - x.Revision)
	})
	return all, nil
}

// Source is the datastore of a server that runs.
type Source struct {
	ServerDir string // the server's folder
	Socket    string // of etcd
}

// Save writes a snapshot to a folder. What it wrote is gone if it fails.
func (s Source) Save(ctx context.Context, dir, how string, now time.Time) (_ Snapshot, err error) {
	kept, err := datastore.Kept(s.ServerDir)
	if err != nil {
		return Snapshot{}, err
	}
	if kept == "" {
		return Snapshot{}, fmt.Errorf("take a snapshot: there is no datastore in %s: is this a server?", s.ServerDir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Snapshot{}, err
	}
	part := filepath.Join(dir, partPrefix+kept)
	// One that a power cut has left.
	if err := remove(part); err != nil {
		return Snapshot{}, err
	}
	defer func() { err = errors.Join(err, remove(part)) }()
	revision, err := s.copy(ctx, kept, part)
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	if err := os.Chmod(part, 0o600); err != nil {
		return Snapshot{}, err
	}
	digest, err := flushAndDigest(part)
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot: %w", err)
	}
	made := Snapshot{How: how, Datastore: kept, Time: now.UTC().Truncate(time.Second), Revision: revision}
	name := fmt.Sprintf("%s-%s-%s-r%d.db", how, kept, made.Time.Format(timeFormat), revision)
	made.Path = filepath.Join(dir, name)
	if err := atomicfile.Write(made.Path+digestSuffix, []byte(digest+"  "+name+"\n"), 0o600); err != nil {
		return Snapshot{}, err
	}
	if err := os.Rename(part, made.Path); err != nil {
		return Snapshot{}, err
	}
	status, err := os.Stat(made.Path)
	if err != nil {
		return Snapshot{}, err
	}
	made.Bytes = status.Size()
	return made, atomicfile.SyncDir(dir)
}

func (s Source) copy(ctx context.Context, kept, to string) (int64, error) {
	if kept == nodeconfig.DatastoreEtcd {
		return datastore.CopyEtcd(ctx, s.Socket, to)
	}
	// SQLite takes an empty file, and this one is for nobody else.
	empty, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	empty.Close()
	return datastore.CopySQLite(ctx, datastore.SQLiteFile(s.ServerDir), to)
}

// remove removes a file if it is there, and what tools have left beside it.
func remove(path string) error {
	left, err := filepath.Glob(path + "*")
	if err != nil {
		return err
	}
	var errs []error
	for _, each := range left {
		errs = append(errs, os.Remove(each))
	}
	return errors.Join(errs...)
}

// flushAndDigest has a file be on the disk and returns its SHA-256 in
// hexadecimal.
func flushAndDigest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// ErrNotWhole is wrapped when a snapshot is not what it was, or nobody knows.
var ErrNotWhole = errors.New("not known to be whole")

// Verify compares a snapshot with the digest beside it.
func Verify(path string) error {
	contents, err := os.ReadFile(path + digestSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is %w: it has no digest beside it; if you know that it is, write one with `sha256sum %s >%s`",
			path, ErrNotWhole, filepath.Base(path), filepath.Base(path)+digestSuffix)
	}
	if err != nil {
		return fmt.Errorf("%s is %w: %w", path, ErrNotWhole, err)
	}
	wanted, _, _ := strings.Cut(strings.TrimSpace(string(contents)), " ")
	found, err := flushAndDigest(path)
	if err != nil {
		return fmt.Errorf("%s is %w: %w", path, ErrNotWhole, err)
	}
	if found != wanted {
		return fmt.Errorf("%s is %w: its SHA-256 is %s, and %s says %.64q: use another snapshot", path, ErrNotWhole, found, path+digestSuffix, wanted)
	}
	return nil
}

// prune removes the oldest automatic snapshots, so that some are left.
func prune(dir string, keep int) error {
	all, err := List(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range all {
		if s.How != Automatic {
			continue
		}
		if keep--; keep >= 0 {
			continue
		}
		errs = append(errs, os.Remove(s.Path), remove(s.Path+digestSuffix))
	}
	return errors.Join(errs...)
}
