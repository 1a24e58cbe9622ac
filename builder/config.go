package builder

import (
	"os"

	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/strictyaml"
)

// CheckConfig reads a node config file and returns what is wrong with it.
func CheckConfig(name string) error {
	_, err := readConfig(name)
	return err
}

// readConfig returns the bytes of a node config that a node will accept.
func readConfig(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	contents, err := strictyaml.Read(name, file)
	if err != nil {
		return nil, err
	}
	_, err = nodeconfig.Parse(name, contents)
	return contents, err
}
