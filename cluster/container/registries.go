package container

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/config"
)

// registriesDir has a folder for each registry, as containerd reads them.
func registriesDir(c *config.Config) string { return c.RunFile("registries") }

// writeRegistries says where images come from besides their own registries.
func writeRegistries(c *config.Config) error {
	dir := registriesDir(c)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(c.Registries.Mirrors))
	for name := range c.Registries.Credentials {
		if _, ok := c.Registries.Mirrors[name]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		text := hostsFile(name, c.Registries)
		if err := atomicfile.Write(filepath.Join(dir, hostFolder(name), "hosts.toml"), []byte(text), 0o600); err != nil {
			return fmt.Errorf("registry %s: %w", name, err)
		}
	}
	return nil
}

// hostFolder is the name of a registry's folder; "*" stands for all others.
func hostFolder(name string) string {
	if name == "*" {
		return "_default"
	}
	return name
}

// hostsFile is what containerd reads about a registry: mirrors in their order,
// then the registry itself.
func hostsFile(name string, r config.Registries) string {
	var text strings.Builder
	for _, endpoint := range r.Mirrors[name] {
		fmt.Fprintf(&text, "[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", endpoint)
		if u, err := url.Parse(endpoint); err == nil {
			writeCredentials(&text, endpoint, r.Credentials[u.Host])
		}
	}
	if credentials, ok := r.Credentials[name]; ok && name != "*" {
		host := "https://" + name
		if name == "docker.io" {
			host = "https://registry-1.docker.io"
		}
		fmt.Fprintf(&text, "[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", host)
		writeCredentials(&text, host, credentials)
	}
	return text.String()
}

func writeCredentials(text *strings.Builder, host string, c config.Credentials) {
	if c.Username == "" && c.Password == "" {
		return
	}
	basic := base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))
	fmt.Fprintf(text, "  [host.%q.header]\n    authorization = \"Basic %s\"\n", host, basic)
}
