//go:build !linux

package distribution

import "errors"

// syncFileSystem fails: distributions are for Linux.
func syncFileSystem(string) error { return errors.ErrUnsupported }
