//go:build system

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/procfs"
)

// watchman is a Pod in the network of its node, who sees what listens there.
func watchman(node string) (pod, manifest string) {
	pod = "watchman-" + node
	return pod, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  hostNetwork: true
  containers:
  - {name: watchman, image: "images.example/agnhost:v1", args: [pause]}
`, pod, node)
}

// listensAsDocumented compares what listens on a node with the table of ports in
// docs/cluster.md: the rows of who, which are those of every node and more.
func (o *operator) listensAsDocumented(node string, who ...string) {
	o.t.Helper()
	pod, manifest := watchman(node)
	o.apply(manifest)
	o.running(pod)
	var listening []string
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		var table string
		o.until("read /proc/net/"+file, func() (err error) {
			table, err = o.kubectl("exec", pod, "--", "/agnhost", "mounttest", "--file_content=/proc/net/"+file)
			return err
		})
		sockets, err := listeners(strings.TrimSuffix(file, "6"), table)
		if err != nil {
			o.t.Fatal(err)
		}
		listening = append(listening, sockets...)
	}
	named := portsInDocs(o.t, append(who, "every node")...)
	for _, port := range listening {
		if !slices.Contains(named, port) {
			o.t.Errorf("%s: docs/cluster.md does not name %s", node, port)
		}
	}
	for _, port := range named {
		if !slices.Contains(listening, port) {
			o.t.Errorf("%s: nothing listens on %s, which docs/cluster.md names", node, port)
		}
	}
}

// listeners are the ports of the sockets in a table of the kernel's that wait for
// anybody, written as in the docs: "6443 TCP", "127.0.0.1:6444 TCP".
func listeners(protocol, table string) (ports []string, err error) {
	sockets, err := procfs.Waiting(protocol, table)
	for _, s := range sockets {
		port := fmt.Sprintf("%d %s", s.Address.Port(), strings.ToUpper(protocol))
		if ip := s.Address.Addr(); ip.IsLoopback() {
			port = ip.String() + ":" + port
		}
		ports = append(ports, port)
	}
	return ports, err
}

func TestListenersOfATableOfTheKernel(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4107 1 0 100 0 0 10 0
   1: 0F02000A:A2F2 0202000A:192B 01 00000000:00000000 02:000002D1 00000000     0        0 4153 2 0 20 4 30 10 -1
   2: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4154 1 0 100 0 0 10 0
   3: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4155 1 0 100 0 0 10 0
`
	got, err := listeners("tcp", table)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"127.0.0.1:6444 TCP", "6443 TCP", "::1:80 TCP"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

var portsRow = regexp.MustCompile(`^\| (?:(127\.0\.0\.1): ?)?([0-9, ]+?)(?: (TCP|UDP))? \| ([^|]+) \|`)

// portsInDocs are the rows of who in the table of docs/cluster.md.
func portsInDocs(t *testing.T, who ...string) (ports []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", "cluster.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n| port | who | what |\n|-|-|-|\n")
	if !found {
		t.Fatal("docs/cluster.md has no table of ports")
	}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		row := portsRow.FindStringSubmatch(line)
		if row == nil {
			t.Fatalf("docs/cluster.md: a row of the table of ports cannot be read: %s", line)
		}
		address, numbers, protocol, whose := row[1], row[2], row[3], row[4]
		if !slices.Contains(who, whose) {
			continue
		}
		if protocol == "" {
			protocol = "TCP"
		}
		for number := range strings.SplitSeq(numbers, ", ") {
			port := number + " " + protocol
			if address != "" {
				port = address + ":" + port
			}
			ports = append(ports, port)
		}
	}
	return ports
}
