package mount

import (
	"fmt"
	"strings"
)

// flag is one option of a program's command line.
type flag struct {
	short byte   // 0: none
	long  string // "": none
	value bool   // takes a value
	set   func(value string) error
}

// parseArgs reads a command line as getopt_long(3) does: options and operands
// in any order, short options in clusters, values attached or in the next word,
// "--" ends options. Two things are stricter: a long option is never
// abbreviated, and an option nobody declared is an error.
func parseArgs(args []string, flags []flag) (operands []string, err error) {
	next := func(name string) (string, error) {
		if len(args) == 0 {
			return "", fmt.Errorf("option %s needs a value", name)
		}
		value := args[0]
		args = args[1:]
		return value, nil
	}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return append(operands, args...), nil
		case strings.HasPrefix(arg, "--"):
			name, value, attached := strings.Cut(arg[2:], "=")
			f := find(flags, func(f flag) bool { return f.long != "" && f.long == name })
			switch {
			case f == nil:
				return nil, fmt.Errorf("unrecognized option '--%s'", name)
			case attached && !f.value:
				return nil, fmt.Errorf("option --%s takes no value", name)
			case f.value && !attached:
				if value, err = next("--" + name); err != nil {
					return nil, err
				}
			}
			if err := f.set(value); err != nil {
				return nil, err
			}
		case len(arg) > 1 && arg[0] == '-':
			for i := 1; i < len(arg); i++ {
				f := find(flags, func(f flag) bool { return f.short == arg[i] })
				if f == nil {
					return nil, fmt.Errorf("invalid option -- '%c'", arg[i])
				}
				value := ""
				if f.value {
					if value = arg[i+1:]; value == "" {
						if value, err = next("-" + arg[i:i+1]); err != nil {
							return nil, err
						}
					}
					i = len(arg)
				}
				if err := f.set(value); err != nil {
					return nil, err
				}
			}
		default:
			operands = append(operands, arg)
		}
	}
	return operands, nil
}

func find(flags []flag, match func(flag) bool) *flag {
	for i := range flags {
		if match(flags[i]) {
			return &flags[i]
		}
	}
	return nil
}

// to and on are setters of string and bool variables.
func to(s *string) func(string) error { return func(v string) error { *s = v; return nil } }
func on(b *bool) func(string) error   { return func(string) error { *b = true; return nil } }
