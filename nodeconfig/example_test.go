package nodeconfig

import (
	"regexp"
	"strings"
	"testing"
)

func TestTheExampleIsRightWithItsCommentsAndWithout(t *testing.T) {
	if _, err := Parse(ExampleName, []byte(Example())); err != nil {
		t.Error(err)
	}
	// Comments for people have a blank behind the mark.
	open := regexp.MustCompile(`(?m)^#([^ \n]|  )`).ReplaceAllString(Example(), "$1")
	config, err := Parse(ExampleName, []byte(open))
	if err != nil {
		t.Fatalf("%v\n%s", err, open)
	}
	if config.Hostname != "shop-17" || len(config.Network.Interfaces) != 1 || len(config.Network.NTP) != 1 {
		t.Errorf("%+v", config)
	}
	if strings.Contains(Example(), "\t") || strings.Contains(Example(), "\r") {
		t.Error("tabs or carriage returns")
	}
}
