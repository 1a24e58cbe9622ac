// Package nameservers tells the Pods of CoreDNS which name servers of the
// outside world their node uses, and tells them again when these change.
//
// Kubernetes copies the node's /etc/resolv.conf into a Pod once, when the Pod
// starts. A node whose network came later would never resolve names of the
// outside world, and CoreDNS does not even start with a file that names no
// server. So the node keeps a line for CoreDNS's Corefile in a folder that
// these Pods mount; with no server the line is missing, and CoreDNS looks into
// the folder every half minute (its plugins import and reload).
package nameservers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/atomicfile"
)

const (
	// File is the name of what CoreDNS imports, in the folder.
	File = "forward.conf"

	// every is how often the node's file is looked at. Whoever writes it may
	// do so in any way, in a folder that changes for other reasons too.
	every = 5 * time.Second

	// most is how many name servers CoreDNS's plugin forward takes.
	most = 15
)

// Files say which name servers a node uses, see resolv.conf(5). Where the
// first names nothing but the machine itself, systemd-resolved answers there
// and keeps the servers that it asks in the second.
var Files = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// Run keeps the folder until ctx ends. Addresses in exclude are no servers of
// the outside world: that of the cluster's own DNS, which would ask itself.
func Run(ctx context.Context, files []string, dir string, exclude ...netip.Addr) error {
	// The user of the Pods is not root.
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return fmt.Errorf("make the folder of name servers: %w", err)
	}
	var written []byte
	failing := false
	for {
		line := forward(servers(files, exclude))
		if written == nil || !bytes.Equal(line, written) {
			err := atomicfile.Write(filepath.Join(dir, File), line, 0o644)
			if err == nil {
				written = line
				slog.Info("name servers of the outside world", "for CoreDNS", strings.TrimSpace(string(line)))
			} else if !failing {
				slog.Error("name servers cannot be told to CoreDNS: only names of the cluster resolve", "error", err)
			}
			failing = err != nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// forward is what CoreDNS imports. The comment alone is no directive.
func forward(servers []netip.Addr) []byte {
	if len(servers) == 0 {
		return []byte("# This node knows no name server.\n")
	}
	var line strings.Builder
	line.WriteString("forward .")
	for _, server := range servers {
		// An address with a zone means an interface of the node.
		line.WriteString(" " + server.WithZone("").String())
	}
	line.WriteString("\n")
	return []byte(line.String())
}

// servers are those of the first file that names any.
func servers(files []string, exclude []netip.Addr) []netip.Addr {
	for _, file := range files {
		contents, err := os.ReadFile(file)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				slog.Warn("name servers cannot be read", "error", err)
			}
			continue
		}
		if found := parse(contents, exclude); len(found) > 0 {
			return found
		}
	}
	return nil
}

// parse reads the name servers of a resolv.conf(5) that a Pod can ask.
func parse(contents []byte, exclude []netip.Addr) []netip.Addr {
	var found []netip.Addr
	seen := map[netip.Addr]bool{}
	for _, addr := range exclude {
		seen[addr] = true
	}
	for line := range strings.Lines(string(contents)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err != nil {
			continue
		}
		addr = addr.Unmap()
		// What is the node itself to the node is the Pod itself to a Pod, and
		// a Pod is on none of the node's links.
		if addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() && addr.Is6() || seen[addr] {
			continue
		}
		seen[addr] = true
		if found = append(found, addr); len(found) == most {
			break
		}
	}
	return found
}
