package conformance

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/debian"
	"github.com/skerry-os/skerry/builder/elfdeps"
	"github.com/skerry-os/skerry/builder/tree"
)

// Registry is where the tests have nearly all of their images.
const Registry = "registry.k8s.io"

// Image is what stands in for one of upstream's.
type Image struct {
	Config ocispec.ImageConfig
	Files  *tree.Tree
}

// Programs are files, compiled for the node, and the folder of agnhost's source
// code, which has other files of its image.
type Programs struct{ Agnhost, AgnhostSource, Pause string }

// Images returns the images that there are, by their names in the registry
// without a tag. Debian's packages are fetched into the user's cache, of the
// release that the board is made of, and unpacked into a folder that has to stay
// as long as the images.
func Images(ctx context.Context, b *board.Board, programs Programs, dir string) (map[string]Image, error) {
	unpacked, err := unpack(ctx, b, dir)
	if err != nil {
		return nil, err
	}
	busybox, err := userland(unpacked, busyboxPrograms)
	if err != nil {
		return nil, err
	}
	// Upstream's agnhost has BusyBox and these from Alpine; its other image for
	// questions to DNS has them from Debian, for the other C library.
	tools, err := userland(unpacked, busyboxPrograms, networkPrograms)
	if err != nil {
		return nil, err
	}
	agnhost := tree.New()
	if err := agnhost.Merge(tools); err != nil {
		return nil, err
	}
	if err := agnhost.AddSource("agnhost", 0o755, programs.Agnhost); err != nil {
		return nil, err
	}
	for _, name := range []string{"localhost.crt", "localhost.key"} { // the test web server offers them as its files, too
		if err := agnhost.AddSource(name, 0o644, filepath.Join(programs.AgnhostSource, "porter", name)); err != nil {
			return nil, err
		}
	}
	if err := agnhost.AddSymlink("agnhost-2", "agnhost"); err != nil {
		return nil, err
	}
	if err := agnhost.AddDir("uploads", 0o755); err != nil {
		return nil, err
	}
	pause := tree.New()
	if err := pause.AddSource("pause", 0o755, programs.Pause); err != nil {
		return nil, err
	}
	return map[string]Image{
		"e2e-test-images/agnhost":           {ocispec.ImageConfig{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}}, agnhost},
		"e2e-test-images/busybox":           {ocispec.ImageConfig{Cmd: []string{"sh"}}, busybox},
		"e2e-test-images/glibc-dns-testing": {ocispec.ImageConfig{Cmd: []string{"sh"}}, tools},
		"pause":                             {ocispec.ImageConfig{User: "65535:65535", Entrypoint: []string{"/pause"}}, pause},
	}, nil
}

// packages are Debian's, with all that they depend on.
var packages = []string{"bind9-dnsutils", "busybox-static", "curl", "dash", "iproute2", "libc-bin", "netcat-openbsd"}

var (
	busyboxPrograms = []string{"/usr/bin/busybox"}
	networkPrograms = []string{"/usr/bin/curl", "/usr/bin/dash", "/usr/bin/dig", "/usr/bin/getent", "/usr/bin/nc.openbsd", "/usr/bin/ss"}
)

// applets are those of BusyBox' that tests call.
var applets = strings.Fields(`[ awk base64 basename cat chgrp chmod chown cp cut date dd df dirname du echo egrep env expr false find free
	grep head hexdump hostname id ifconfig ip kill killall ln ls md5sum mkdir mkfifo mknod mktemp mount mv nc netstat nproc nslookup od
	pidof ping printf ps pwd readlink realpath rm rmdir route sed seq setsid sh sha256sum sleep sort stat stty sync sysctl tac tail tar
	tee test timeout top touch tr true tty umount uname uniq uptime vi wc wget which whoami xargs yes`)

// preferred are programs that take the place of applets where they are there.
// BusyBox' shell does not look for programs that have the name of an applet: its nc
// would be taken, which does not know UDP.
var preferred = map[string]string{"nc": "nc.openbsd", "sh": "dash"}

// accounts are those of upstream's images that tests know.
const (
	accounts = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n" +
		"user-defined-in-image:x:1000:1000::/home:/bin/sh\n"
	groups = "root:x:0:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"
)

// userland is a root with these programs, the libraries that they need, and a
// shell.
func userland(unpacked *tree.Tree, programs ...[]string) (*tree.Tree, error) {
	files := tree.New()
	for _, some := range programs {
		closure, err := elfdeps.Closure(unpacked, some)
		if err != nil {
			return nil, err
		}
		if err := files.Merge(closure); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := files.AddDir("usr/"+dir, 0o755); err != nil {
			return nil, err
		}
		if err := files.AddSymlink(dir, "usr/"+dir); err != nil {
			return nil, err
		}
	}
	for _, applet := range applets {
		if _, there := files.Get("usr/bin/" + applet); there {
			continue
		}
		if err := files.AddSymlink("usr/bin/"+applet, "busybox"); err != nil {
			return nil, err
		}
	}
	for name, program := range preferred {
		if _, there := files.Get("usr/bin/" + program); !there {
			continue
		}
		if err := files.AddSymlink("usr/bin/"+name, program); err != nil {
			return nil, err
		}
	}
	for _, dir := range []struct {
		name string
		mode fs.FileMode
	}{{"etc", 0o755}, {"home", 0o755}, {"root", 0o700}, {"tmp", 0o777}, {"var", 0o755}} {
		if err := files.AddDir(dir.name, dir.mode); err != nil {
			return nil, err
		}
	}
	if err := files.AddBytes("etc/passwd", 0o644, []byte(accounts)); err != nil {
		return nil, err
	}
	return files, files.AddBytes("etc/group", 0o644, []byte(groups))
}

// indexAge is for how long what the mirror said is not asked for again.
const indexAge = 6 * time.Hour

// unpack fetches the packages and unpacks them, one below the other.
func unpack(ctx context.Context, b *board.Board, dir string) (*tree.Tree, error) {
	mirrors, err := debian.HostMirrors(os.DirFS("/"))
	if err != nil {
		return nil, err
	}
	cached, err := cache.DefaultDir()
	if err != nil {
		return nil, err
	}
	fetcher := debian.Fetcher{Mirrors: mirrors, Cache: filepath.Join(cached, "debian")}
	archive, err := debian.Open(ctx, debian.Options{
		Fetcher: fetcher, Suite: b.Debian.Suite, Architecture: b.Architecture, MaxAge: indexAge,
	})
	if err != nil {
		return nil, err
	}
	all, err := archive.Resolve(debian.Requests(packages...))
	if err != nil {
		return nil, err
	}
	debs, err := fetcher.Fetch(ctx, all)
	if err != nil {
		return nil, err
	}
	files := tree.New()
	for _, p := range all {
		at := filepath.Join(dir, p.Name)
		if err := os.Mkdir(at, 0o755); err != nil {
			return nil, err
		}
		if err := p.Unpack(ctx, debs[p.Name], at, nil); err != nil {
			return nil, err
		}
		if err := elfdeps.AddPackage(files, at); err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	return files, nil
}
