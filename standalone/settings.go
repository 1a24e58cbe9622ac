package standalone

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// SettingsFile is the file that the service reads.
const SettingsFile = SettingsDir + "/config.yaml"

// roleKey names the role in it.
const roleKey = "role"

// Settings are the service's: names of flags and their values, and the role.
type Settings map[string]any

// GivenSettings returns the flags that were given, but for those of other, as a
// settings file has them.
func GivenSettings(role string, flags, other *pflag.FlagSet) Settings {
	settings := Settings{roleKey: role}
	flags.Visit(func(flag *pflag.Flag) {
		if other.Lookup(flag.Name) != nil {
			return
		}
		switch value := flag.Value.(type) {
		case pflag.SliceValue:
			settings[flag.Name] = value.GetSlice()
		default:
			settings[flag.Name] = value.String()
			if value.Type() == "bool" {
				settings[flag.Name] = value.String() == "true"
			}
		}
	})
	return settings
}

// role is what the machine is for: a server where nothing is said, as it is to
// `skerry run`.
func (s Settings) role() string {
	if role, ok := s[roleKey]; ok {
		return fmt.Sprint(role)
	}
	return "server"
}

// formerSettings is the file's name after it was replaced.
const formerSettings = SettingsFile + ".former"

// read returns the settings that are there, or nil.
func (w *writer) readSettings() (Settings, error) {
	contents, err := os.ReadFile(w.Path(SettingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	there := Settings{}
	if err := yaml.UnmarshalStrict(contents, (*map[string]any)(&there)); err != nil {
		return nil, fmt.Errorf("%s: %w", w.Path(SettingsFile), err)
	}
	return there, nil
}

// checkSettings refuses settings that contradict those that are there.
func (w *writer) checkSettings(given, there Settings) error {
	if there == nil {
		return nil
	}
	if there.role() != given.role() {
		return fmt.Errorf("%s says that this machine is a %s: run `skerry uninstall --purge` before it is installed as %s", w.Path(SettingsFile), there.role(), given.role())
	}
	var differ []string
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if key != roleKey && !sameValue(given[key], there[key]) {
			differ = append(differ, "--"+key)
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("%s is there already and says something else about %s: change it there, or pass --replace-config",
			w.Path(SettingsFile), strings.Join(differ, ", "))
	}
	return nil
}

// sameValue compares as the file and flags write values: a list of one is its
// element, and numbers and truth values are their text.
func sameValue(a, b any) bool { return reflect.DeepEqual(texts(a), texts(b)) }

func texts(value any) []string {
	switch value := value.(type) {
	case nil:
		return nil
	case []string:
		return value
	case []any:
		var list []string
		for _, element := range value {
			list = append(list, fmt.Sprint(element))
		}
		return list
	}
	return []string{fmt.Sprint(value)}
}

// writeSettings writes the settings, or keeps those that are there.
func (w *writer) writeSettings(given, there Settings, replace bool) error {
	if there != nil && !replace {
		w.say("kept %s", w.Path(SettingsFile))
		return os.Chmod(w.Path(SettingsFile), 0o600)
	}
	contents, err := yaml.Marshal(map[string]any(given))
	if err != nil {
		return err
	}
	text := "# Settings of the service, with the names of the flags of `skerry server --help`.\n" + string(contents)
	if there != nil {
		old, err := os.ReadFile(w.Path(SettingsFile))
		if err != nil {
			return err
		}
		if string(old) != text {
			if err := w.file(formerSettings, string(old), 0o600); err != nil {
				return err
			}
		}
	}
	return w.file(SettingsFile, text, 0o600)
}
