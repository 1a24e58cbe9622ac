// Package certificates tells of the certificates of a machine, and has its
// processes make those anew that they can.
//
// Authorities are made once. All other certificates are made at every start and
// at two thirds of their life; a person who wants them earlier asks by a file
// in the run folder, which only root can write to.
package certificates

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/pki"
)

// Certificate is one in a file of this machine.
type Certificate struct {
	Name    string    `json:"name"` // of the file, without its ending
	Kind    string    `json:"kind"` // authority, server, client, or server and client
	Subject string    `json:"subject"`
	Issuer  string    `json:"issuer"`
	Expires time.Time `json:"expires"`
	Serial  string    `json:"serial"`
	Path    string    `json:"path"`
}

// Authority tells whether it signs others. It is not made anew.
func (c Certificate) Authority() bool { return c.Kind == authority }

const (
	authority = "authority"
	ending    = ".crt"
)

// List returns all certificates of a machine by their files. A file that cannot
// be read is an error beside the others.
func List(c *config.Config) ([]Certificate, error) {
	var all []Certificate
	var errs []error
	for _, dir := range []string{c.ServerDir("tls"), c.RunFile("control"), c.AgentDir(), c.RunFile("node")} {
		paths, err := filepath.Glob(filepath.Join(dir, "*"+ending))
		if err != nil {
			return nil, err
		}
		slices.Sort(paths)
		for _, path := range paths {
			read, err := readFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			all = append(all, read...)
		}
	}
	return all, errors.Join(errs...)
}

func readFile(path string) ([]Certificate, error) {
	contents, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	parsed, err := pki.ParseCertificates(contents)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []Certificate
	for _, each := range parsed {
		all = append(all, Certificate{
			Name: strings.TrimSuffix(filepath.Base(path), ending), Kind: kind(each), Subject: each.Subject.String(), Issuer: each.Issuer.String(),
			Expires: each.NotAfter.UTC(), Serial: each.SerialNumber.Text(16), Path: path,
		})
	}
	return all, nil
}

func kind(c *x509.Certificate) string {
	if c.IsCA {
		return authority
	}
	var uses []string
	for usage, name := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "server", x509.ExtKeyUsageClientAuth: "client"} {
		if slices.Contains(c.ExtKeyUsage, usage) {
			uses = append(uses, name)
		}
	}
	slices.Sort(uses)
	slices.Reverse(uses)
	return strings.Join(uses, " and ")
}

// requestFile is what a person writes to have certificates made anew.
const requestFile = "renew-certificates"

// Request asks the processes of this machine to make their certificates anew.
func Request(c *config.Config, now time.Time) error {
	if _, err := os.Stat(c.RunDir); err != nil {
		return fmt.Errorf("does skerry run here, and are you root? %w", err)
	}
	return atomicfile.Write(c.RunFile(requestFile), []byte(now.UTC().Format(time.RFC3339Nano)+"\n"), 0o600)
}

// Requests tells of requests until ctx ends.
func Requests(ctx context.Context, c *config.Config) (<-chan struct{}, error) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(c.RunDir); err != nil {
			watcher.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", c.RunDir, err)
	}
	asked := make(chan struct{}, 1)
	go func() {
		defer watcher.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case event, ok := <-watcher.Events:
				if !ok {
					return
				}
				if filepath.Base(event.Name) != requestFile || !event.Has(fsnotify.Create) {
					continue
				}
				select {
				case asked <- struct{}{}:
				default: // it is asked for already
				}
			case <-watcher.Errors:
			}
		}
	}()
	return asked, nil
}

// Wait waits until every certificate that is made anew has another serial
// number than before, and returns those that there are now. If ctx ends before,
// the error names those that are as they were.
func Wait(ctx context.Context, c *config.Config, before []Certificate) ([]Certificate, error) {
	for {
		now, err := List(c)
		if err != nil {
			return now, err
		}
		var left []string
		for _, old := range before {
			same := func(each Certificate) bool { return each.Path == old.Path && each.Serial == old.Serial }
			if !old.Authority() && slices.ContainsFunc(now, same) {
				left = append(left, old.Path)
			}
		}
		if len(left) == 0 {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, fmt.Errorf("not made anew: %s: does skerry run, and what does its log say?", strings.Join(left, ", "))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
