// Package cache keeps the results of build steps by what went into them. A
// step whose inputs did not change is not run again, and two builds that run
// at the same time share one cache: a result appears whole or not at all.
//
// What belongs into a key is for the step to say: everything its result
// depends on, the versions of the tools it runs included.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"
)

// Steps is the folder of the cache with the results of steps.
const Steps = "steps"

// Cache is a folder with one folder of results a step.
type Cache struct{ dir string }

// DefaultDir returns the folder of the user's caches that belongs to Skerry.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w: pass --cache", err)
	}
	return filepath.Join(dir, "skerry"), nil
}

// Open makes dir if it does not exist and returns the cache in it.
func Open(dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, Steps), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache folder: %w", err)
	}
	return &Cache{dir: dir}, nil
}

// OpenExisting returns the cache in dir, and makes none.
func OpenExisting(dir string) (*Cache, error) {
	if _, err := os.Stat(filepath.Join(dir, Steps)); err != nil {
		return nil, fmt.Errorf("%s is no cache of the builder: it has no folder %s", dir, Steps)
	}
	return Open(dir)
}

// Dir returns the cache's own folder.
func (c *Cache) Dir() string { return c.dir }

// Sub returns a folder of the cache that its user keeps in order by itself.
func (c *Cache) Sub(name string) (string, error) {
	dir := filepath.Join(c.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// Key is the digest of everything a step's result depends on.
type Key struct{ sum hash.Hash }

// NewKey starts a key. Version changes when the step's own code changes in a
// way that changes its results.
func NewKey(step string, version int) *Key {
	k := &Key{sum: sha256.New()}
	return k.Add("step", fmt.Sprintf("%s %d", step, version))
}

// Add puts one named input into the key.
func (k *Key) Add(name, value string) *Key {
	fmt.Fprintf(k.sum, "%q=%q\n", name, value)
	return k
}

// String returns the key as it is used in folder names.
func (k *Key) String() string { return hex.EncodeToString(k.sum.Sum(nil)[:16]) }

// Step returns the folder with the results that fill made for this key, now
// or in an earlier run; hit says which. Fill gets an empty folder that is
// discarded when it fails or ctx is cancelled.
func (c *Cache) Step(ctx context.Context, name string, key *Key, fill func(dir string) error) (dir string, hit bool, err error) {
	final := filepath.Join(c.dir, Steps, name+"-"+key.String())
	if exists(final) {
		touch(final)
		return final, true, nil
	}
	unlock, err := c.lock(ctx, name)
	if err != nil {
		return "", false, err
	}
	defer unlock()
	if exists(final) {
		return final, true, nil
	}
	temp, err := os.MkdirTemp(filepath.Join(c.dir, Steps), ".new-"+name+"-")
	if err != nil {
		return "", false, fmt.Errorf("step %s: %w", name, err)
	}
	defer os.RemoveAll(temp)
	if err := fill(temp); err != nil {
		return "", false, err
	}
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return "", false, err
	}
	if err := os.Rename(temp, final); err != nil {
		return "", false, fmt.Errorf("step %s: keep its result: %w", name, err)
	}
	return final, false, nil
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// touch marks a result as used; a cache on a read-only disk only ages.
func touch(dir string) {
	now := time.Now()
	_ = os.Chtimes(dir, now, now)
}
