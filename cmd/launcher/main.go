// Command launcher is the front of the download: a small program with all of
// the single binary's files behind it (package distribution). Its one work is
// to unpack them once, and to hand over to the program that it unpacked.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/skerry-os/skerry/distribution"
	"github.com/skerry-os/skerry/distribution/place"
)

const usage = `skerry is Kubernetes in one file. This is its download, which installs itself on a
Linux machine with systemd:

  %[1]s install server                                the first machine
  %[1]s install agent --server URL --token-file FILE  another machine
  %[1]s install server --root DIR                     below a folder, starting nothing
  %[1]s --version

Further flags are those of "skerry install server --help" and "skerry server --help", which is there
afterwards.
`

func main() {
	if err := run(os.Stdout, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "skerry:", err)
		os.Exit(1)
	}
}

// run does what the arguments say. Where it installs, it ends with another
// program in its place and does not return.
func run(out io.Writer, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := ""
	if len(args) > 1 {
		command = args[1]
	}
	switch command {
	case "install":
	case "", "help", "-h", "--help":
		_, err := fmt.Fprintf(out, usage, filepath.Base(self))
		return err
	case "version", "--version":
		file, err := distribution.Open(self)
		if err != nil {
			return err
		}
		defer file.Close()
		manifest, err := file.Manifest()
		if err == nil {
			_, err = fmt.Fprintf(out, "skerry %s linux-%s\n", manifest.Version, manifest.Architecture)
		}
		return err
	default:
		return fmt.Errorf("%q: this file only installs: run `%s install server`, and then `skerry %s`", command, self, command)
	}
	at, err := place.Find(args[2:])
	if err != nil {
		return err
	}
	program, err := unpack(out, self, at)
	if err != nil {
		return err
	}
	err = syscall.Exec(program, append([]string{program}, args[1:]...), os.Environ())
	return fmt.Errorf("start %s: %w", program, err)
}

// unpack makes sure that the files are there, and returns the program among them.
func unpack(out io.Writer, self string, at place.Place) (string, error) {
	if at.Root == "" && os.Geteuid() != 0 {
		return "", errors.New("only root can install: run it with sudo, or pass --root DIR to install below a folder")
	}
	file, err := distribution.Open(self)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := file.Check(); err != nil {
		return "", err
	}
	dir, fresh, err := at.Unpack(file)
	if err != nil {
		return "", err
	}
	if fresh {
		fmt.Fprintf(out, "unpacked into %s\n", dir)
	} else {
		fmt.Fprintf(out, "%s is there already, and as it was unpacked\n", dir)
	}
	return filepath.Join(dir, place.Program), nil
}
