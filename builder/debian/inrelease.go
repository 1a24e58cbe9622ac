package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxInReleaseBytes bounds an InRelease file. That of trixie has 140 kB.
const maxInReleaseBytes = 8 << 20

// release returns a suite's verified Release, nil for an optional suite that
// the mirror does not have. What is cached counts for MaxAge, and after that
// as long as the mirror does not answer and it has not expired. With refresh
// the mirror is asked in any case.
func (o *Options) release(ctx context.Context, s store, from suite, keys *keyring, w *warnings, refresh bool) (*release, error) {
	path := s.releasePath(from)
	now := o.Now()
	old, at, err := s.read(path)
	if err != nil {
		return nil, err
	}
	var cached *release
	if len(old) > 0 {
		// One that is no longer good is as if it were not there.
		if r, err := o.verify(old, from, keys, now); err == nil {
			cached = r
		}
	}
	age := now.Sub(at)
	fresh := old != nil && age >= 0 && age < o.MaxAge
	if fresh && !refresh {
		if cached != nil {
			return cached, nil
		}
		// An empty file remembers that the mirror does not have the suite.
		if len(old) == 0 && from.optional {
			w.add("suite %s: %s does not have it", from.name, redacted(from.mirror))
			return nil, nil
		}
	}

	raw, err := o.fetchInRelease(ctx, from)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && cached != nil:
		w.add("suite %s: the state of %s is used: %s", from.name, cached.date.Format(time.DateTime), err)
		return cached, nil
	case errors.Is(err, errNotFound) && from.optional:
		w.add("suite %s: %s does not have it", from.name, redacted(from.mirror))
		return nil, o.remember(s, path, nil, now)
	case err != nil:
		return nil, err
	}
	r, err := o.verify(raw, from, keys, now)
	if err != nil {
		return nil, fmt.Errorf("InRelease: %w", err)
	}
	if cached != nil && r.date.Before(cached.date) {
		// Going back would let a mirror hand out versions with known holes.
		w.add("suite %s: the mirror went back to %s, the state of %s is used", from.name,
			r.date.Format(time.DateTime), cached.date.Format(time.DateTime))
		return cached, nil
	}
	return r, o.remember(s, path, raw, now)
}

// remember caches an InRelease with the time at which the mirror was asked.
func (o *Options) remember(s store, path string, raw []byte, now time.Time) error {
	return s.temporary(func(f *os.File) error {
		if _, err := f.Write(raw); err != nil {
			return fmt.Errorf("package cache: %w", err)
		}
		if err := os.Chtimes(f.Name(), now, now); err != nil {
			return fmt.Errorf("package cache: %w", err)
		}
		return s.keep(f, path)
	})
}

func (o *Options) fetchInRelease(ctx context.Context, from suite) ([]byte, error) {
	var raw []byte
	err := twice(ctx, func() error {
		body, _, err := o.get(ctx, from.mirror, "dists/"+from.name+"/InRelease")
		if err != nil {
			return err
		}
		defer body.Close()
		raw, err = io.ReadAll(io.LimitReader(body, maxInReleaseBytes+1))
		if err == nil && len(raw) > maxInReleaseBytes {
			err = fmt.Errorf("get InRelease: larger than %d bytes", maxInReleaseBytes)
		}
		return err
	})
	return raw, err
}

func (o *Options) verify(raw []byte, from suite, keys *keyring, now time.Time) (*release, error) {
	text, err := signedText(raw, keys, now)
	if err != nil {
		return nil, err
	}
	r, err := parseRelease(text)
	if err != nil {
		return nil, err
	}
	if err := r.check(from.name, o.Components, o.Architecture, now); err != nil {
		return nil, err
	}
	return r, nil
}

// shortHash turns an address into a file name.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
