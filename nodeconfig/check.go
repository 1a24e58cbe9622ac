package nodeconfig

import (
	"maps"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/strictyaml"
)

// checks reports what cannot be. A key whose value could not be read is
// reported already and has the zero value here.
type checks struct {
	*strictyaml.Document
}

func (d checks) config(c *Config) {
	if d.Has("apiVersion") && c.APIVersion != APIVersion {
		d.Errorf("apiVersion", "found %q: this release reads %q", short(c.APIVersion), APIVersion)
	}
	if d.Has("kind") && c.Kind != Kind {
		d.Errorf("kind", "found %q: a node config has %q", short(c.Kind), Kind)
	}
	if d.Has("hostname") {
		if err := checkHostname(c.Hostname); err != nil {
			d.Errorf("hostname", "found %q: %v", short(c.Hostname), err)
		}
	}
	d.network(&c.Network)
	if c.Cluster != nil {
		d.cluster(c.Cluster)
	}
	if c.Updates != nil {
		d.updates(c.Updates)
	}
	d.access(c.Access.Keys)
	d.storage(&c.Storage.Data)
	d.kernel(&c.Kernel)
	d.files(c.Files)
}

// short cuts a value down to what an error repeats.
func short(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func (d checks) access(keys []AccessKey) {
	first := map[[32]byte]int{}
	for i, key := range keys {
		p := strictyaml.Path("access.keys").Index(i)
		if j, ok := first[key.Public]; ok {
			d.Errorf(p, "this key is the same as access.keys[%d]: keep one", j)
			continue
		}
		first[key.Public] = i
	}
}

func (d checks) storage(data *Data) {
	p := strictyaml.Path("storage.data.device")
	if !d.Has(p) || data.Device == DeviceAuto {
		return
	}
	if !strings.HasPrefix(data.Device, "/dev/") || path.Clean(data.Device) != data.Device || len(data.Device) > 255 ||
		!only(data.Device, "._:/-") {
		d.Errorf(p, `found %q: "auto" or the path of a disk belongs here, as in /dev/nvme0n1`, short(data.Device))
	}
}

// only reports whether s has nothing but ASCII letters, digits and extra.
func only(s, extra string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

func (d checks) kernel(k *Kernel) {
	for i, name := range k.Modules {
		p := strictyaml.Path("kernel.modules").Index(i)
		if name == "" || strings.IndexByte("-_", name[0]) >= 0 || !only(name, "_-") || len(name) > 63 {
			d.Errorf(p, "found %q: the name of a kernel module has letters, digits, - and _ only, no path and no .ko", short(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.Sysctls)) {
		value := k.Sysctls[name]
		p := strictyaml.Path("kernel.sysctls").Key(name)
		if !isSysctl(name) {
			d.Errorf(p, "this is no kernel parameter: its name is a path below /proc/sys, with dots or slashes, as in net.core.somaxconn")
		} else if strings.TrimSpace(value) == "" && d.Has(p) || len(value) > 4096 || strings.ContainsAny(value, "\n\r\x00") {
			d.Errorf(p, "the value of a kernel parameter is one line of 1 to 4096 characters")
		}
	}
}

// isSysctl reports whether name is one that sysctl(8) takes: separated by dots,
// or by slashes when a part has dots in it, as in net/ipv4/conf/eth0.20/rp_filter.
func isSysctl(name string) bool {
	separator := "."
	if strings.Contains(name, "/") {
		separator = "/"
	}
	parts := strings.Split(name, separator)
	for _, part := range parts {
		if part == "" || strings.HasPrefix(part, ".") || !only(part, "._-") {
			return false
		}
	}
	return len(parts) >= 2 && len(name) <= 255
}

func (d checks) files(files []File) {
	first := map[string]int{}
	for i, f := range files {
		p := strictyaml.Path("files").Index(i)
		if d.Has(p.Key("mode")) && f.Mode == 0 {
			d.Errorf(p.Key("mode"), "found 0000: nobody could read the file")
		}
		if !d.Has(p.Key("path")) {
			continue
		}
		if !strings.HasPrefix(f.Path, "/etc/") || path.Clean(f.Path) != f.Path || len(f.Path) > 1024 || strings.ContainsAny(f.Path, "\x00\n") {
			d.Errorf(p.Key("path"), "found %q: an absolute path below /etc, without . and .., belongs here", short(f.Path))
			continue
		}
		if j, ok := first[f.Path]; ok {
			d.Errorf(p.Key("path"), "files[%d] has the same path: keep one", j)
			continue
		}
		first[f.Path] = i
	}
	for i, f := range files {
		for dir := path.Dir(f.Path); len(dir) > len("/etc"); dir = path.Dir(dir) {
			if j, ok := first[dir]; ok {
				d.Errorf(strictyaml.Path("files").Index(i).Key("path"), "files[%d] puts a file at %s, which has to be a folder here", j, short(dir))
			}
		}
	}
}

func (d checks) updates(u *Updates) {
	if d.Has("updates.source") {
		source, err := url.Parse(u.Source)
		switch {
		case err == nil && source.Scheme == "http":
			d.Errorf("updates.source", "found an http:// URL: use https://, or file:// for a local directory")
		case err != nil, source.Scheme != "https" && source.Scheme != "file", source.Scheme == "https" && source.Hostname() == "",
			source.Scheme == "file" && (source.Host != "" || !path.IsAbs(source.Path)):
			d.Errorf("updates.source", "an https:// or file:/// URL belongs here, as in https://updates.example.com/skerry")
		case source.User != nil || source.RawQuery != "" || source.Fragment != "":
			d.Errorf("updates.source", "the URL of an update source has no user, query or fragment")
		}
	}
	if d.Has("updates.channel") && (u.Channel == "" || len(u.Channel) > 63 || u.Channel != strings.ToLower(u.Channel) ||
		!only(u.Channel, "._-") || strings.IndexByte("._-", u.Channel[0]) >= 0) {
		d.Errorf("updates.channel", "found %q: a channel has small letters, digits, and ., _, - after the first", short(u.Channel))
	}
	if d.Has("updates.maxBytes") && u.MaxBytes < strictyaml.MiB {
		d.Errorf("updates.maxBytes", "found %v: no update is smaller than 1MiB; remove the key if there is no limit", u.MaxBytes)
	}
	if u.Window != nil {
		d.window(u.Window)
	}
	const longest = strictyaml.Duration(24 * time.Hour)
	if d.Has("updates.health.deadline") && (u.Health.Deadline < strictyaml.Duration(time.Minute) || u.Health.Deadline > longest) {
		d.Errorf("updates.health.deadline", "found %v: 1m to 24h belongs here", u.Health.Deadline)
	}
	for i, check := range u.Health.Checks {
		if p := strictyaml.Path("updates.health.checks").Index(i).Key("http"); d.Has(p) && !isWebURL(check.HTTP) {
			d.Errorf(p, "an http:// or https:// URL belongs here, as in http://127.0.0.1:8080/healthz")
		}
	}
}

func isWebURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func (d checks) window(w *Window) {
	const p = strictyaml.Path("updates.window")
	for i, day := range w.Days {
		if first := slices.Index(w.Days, day); first < i && !d.Failed(p.Key("days").Index(first)) {
			d.Errorf(p.Key("days").Index(i), "found %q twice: keep one", day.String())
		}
	}
	if d.Has(p.Key("days")) && len(w.Days) == 0 {
		d.Errorf(p.Key("days"), "the list is empty, so that no update would ever be installed: name days, or remove the key for all")
	}
	if w.From == w.To && d.Has(p.Key("from")) && d.Has(p.Key("to")) && !d.Failed(p.Key("from")) {
		d.Errorf(p.Key("to"), "found the same time as from: an empty window; for the whole day remove window, or name days and write 00:00 to 23:59")
	}
	if d.Has(p.Key("timezone")) {
		// "" and "Local" are whatever the node has set, which is nothing.
		if _, err := time.LoadLocation(w.Timezone); err != nil || w.Timezone == "" || w.Timezone == "Local" {
			d.Errorf(p.Key("timezone"), "found %q: a name of the time zone database belongs here, as in Europe/Berlin or UTC", short(w.Timezone))
		}
	}
}

// isServerName reports whether s is an address or a domain name.
func isServerName(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || isDomain(s)
}
