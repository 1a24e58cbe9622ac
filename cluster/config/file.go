package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// largestFile is the most that a settings file may have, in bytes.
const largestFile = 1 << 20

// structured are the settings that only a file has words for.
type structured struct {
	Kubelet    map[string]any   `json:"kubelet"`
	Registries Registries       `json:"registries"`
	Manifests  []map[string]any `json:"manifests"`
}

// roleKey says in a file what the machine is for. A command that has a role of
// its own has no use for it.
const roleKey = "role"

// ReadRole returns the role that a settings file names; the default is that of
// a server.
func ReadRole(path string) (Role, error) {
	values, err := readValues(path)
	if err != nil {
		return "", err
	}
	switch role := values[roleKey]; role {
	case nil, string(Server):
		return Server, nil
	case string(Agent):
		return Agent, nil
	default:
		return "", fmt.Errorf("%s: role %v: there are server and agent", path, role)
	}
}

func readValues(path string) (map[string]any, error) {
	contents, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	if len(contents) > largestFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, largestFile)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(contents, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

// ReadFile takes the settings of a YAML file whose keys are the names of
// flags. A flag that was given wins. A file that is missing is no error unless
// it was asked for.
func ReadFile(path string, required bool, flags *pflag.FlagSet, c *Config) error {
	values, err := readValues(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil
	}
	if err != nil {
		return err
	}
	if named, ok := values[roleKey]; ok && named != string(c.Role) {
		return fmt.Errorf("%s: role %v, and this machine runs as %s", path, named, c.Role)
	}
	delete(values, roleKey)
	var rest structured
	extra := map[string]any{}
	for _, key := range []string{"kubelet", "registries", "manifests"} {
		if value, ok := values[key]; ok {
			extra[key] = value
			delete(values, key)
		}
	}
	text, err := yaml.Marshal(extra)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := yaml.UnmarshalStrict(bytes.TrimSpace(text), &rest); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c.Kubelet, c.Registries, c.Manifests = rest.Kubelet, rest.Registries, rest.Manifests
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(values)) {
		err := setFlag(flags, key, values[key])
		if errors.Is(err, errNoSetting) {
			err = fmt.Errorf("%w: `skerry %s --help` lists them", err, c.Role)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

var errNoSetting = errors.New("there is no such setting")

// setFlag gives a flag the value of a file, unless the command line has one.
func setFlag(flags *pflag.FlagSet, name string, value any) error {
	flag := flags.Lookup(name)
	if flag == nil || name == "config" || name == "help" {
		return fmt.Errorf("%s: %w", name, errNoSetting)
	}
	if flag.Changed {
		return nil
	}
	var texts []string
	switch value := value.(type) {
	case []any:
		if !strings.Contains(flag.Value.Type(), "Slice") && !strings.Contains(flag.Value.Type(), "Array") {
			return fmt.Errorf("%s: one value belongs here, not a list", name)
		}
		for _, element := range value {
			texts = append(texts, fmt.Sprint(element))
		}
	case map[string]any, nil:
		return fmt.Errorf("%s: a value belongs here", name)
	default:
		texts = []string{fmt.Sprint(value)}
	}
	for _, text := range texts {
		if err := flag.Value.Set(text); err != nil {
			return fmt.Errorf("%s: %q: %w", name, text, err)
		}
	}
	return nil
}
