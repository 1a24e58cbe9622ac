package network

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// A lease file holds the last address a link had by DHCPv4, as one line of text. Nothing depends on it: without it
// the node may get another address.

// leaseFile is the file for a link: by MAC, since names may change with the order of discovery.
func leaseFile(dir string, l link, vlan int) string {
	name := strings.ReplaceAll(l.mac.String(), ":", "-")
	if vlan != 0 {
		name += fmt.Sprintf(".%d", vlan)
	}
	return filepath.Join(dir, name)
}

// readLeaseFile returns the zero Addr if there is no such file.
func readLeaseFile(path string) (netip.Addr, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the last DHCP address: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the last DHCP address: %w", err)
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(b)))
	if err != nil || !a.Is4() || !unicast(a) {
		return netip.Addr{}, fmt.Errorf("read the last DHCP address: %s holds %q, not an IPv4 address", path, b)
	}
	return a, nil
}

func writeLeaseFile(path string, a netip.Addr) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("remember the DHCP address: %w", err)
	}
	if err := replaceFile(path, []byte(a.String()+"\n")); err != nil {
		return fmt.Errorf("remember the DHCP address: %w", err)
	}
	return nil
}

// replaceFile puts content in path's place at once: a reader sees the old or the new, never half.
func replaceFile(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Chmod(0o644)
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}
