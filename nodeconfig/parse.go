package nodeconfig

import (
	"time"
	_ "time/tzdata" // windows name time zones, and an image has no files for them

	"github.com/skerry-os/skerry/strictyaml"
)

// Parse reads a node config, which is called name in errors, checks it and
// fills in the defaults. The error, if any, is a *strictyaml.Error with
// everything that is wrong, and there is no config then.
func Parse(name string, data []byte) (*Config, error) {
	c := new(Config)
	doc, err := strictyaml.Decode(name, data, c)
	if doc == nil {
		return nil, err
	}
	if !doc.Empty() {
		checks{doc}.config(c)
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	c.setDefaults()
	return c, nil
}

// Defaults of keys that are not in the file.
const (
	DefaultChannel        = "stable"
	DefaultHealthDeadline = strictyaml.Duration(10 * time.Minute)
	DefaultFileMode       = FileMode(0o644)
	DefaultTimezone       = "UTC"
)

func (c *Config) setDefaults() {
	c.APIVersion, c.Kind = APIVersion, Kind
	if c.Storage.Data.Device == "" {
		c.Storage.Data.Device = DeviceAuto
	}
	for i := range c.Files {
		if c.Files[i].Mode == 0 {
			c.Files[i].Mode = DefaultFileMode
		}
	}
	if c.Cluster != nil && c.Cluster.Role == RoleServer && c.Cluster.Datastore == "" {
		c.Cluster.Datastore = DatastoreSQLite
		if c.Cluster.Join != "" {
			c.Cluster.Datastore = DatastoreEtcd
		}
	}
	if u := c.Updates; u != nil {
		if u.Channel == "" {
			u.Channel = DefaultChannel
		}
		if u.Health.Deadline == 0 {
			u.Health.Deadline = DefaultHealthDeadline
		}
		if w := u.Window; w != nil {
			if w.Timezone == "" {
				w.Timezone = DefaultTimezone
			}
			if len(w.Days) == 0 {
				w.Days = []Day{1, 2, 3, 4, 5, 6, 0}
			}
		}
	}
}
