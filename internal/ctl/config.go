package ctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/cyphonic/cyphonic/api/client"
	"github.com/cyphonic/cyphonic/internal/identity"
)

// configuration is the file that says which managers there are. It holds tokens: it must be readable by its owner alone.
type configuration struct {
	CurrentContext string           `json:"currentContext"` // name of the context that is used unless --context says otherwise
	Contexts       []managerContext `json:"contexts"`
}

// managerContext is one manager as one operator.
type managerContext struct {
	Name   string `json:"name"`
	Server string `json:"server"` // base URL of the manager, https://host:port
	Trust  string `json:"trust"`  // trust.json of the installation; relative paths are relative to the configuration file
	Token  string `json:"token"`  // bearer token
}

func (c *command) configFile() (string, error) {
	if c.configPath != "" {
		return c.configPath, nil
	}
	if path := c.Getenv("CYPHONIC_CONFIG"); path != "" {
		return path, nil
	}
	directory := c.Getenv("XDG_CONFIG_HOME")
	if directory == "" {
		home := c.Getenv("HOME")
		if home == "" {
			return "", errors.New("no configuration file: give --config")
		}
		directory = filepath.Join(home, ".config")
	}
	return filepath.Join(directory, "cyphonic", "config.yaml"), nil
}

func (c *command) loadContext() (managerContext, error) {
	path, err := c.configFile()
	if err != nil {
		return managerContext{}, &usageError{err}
	}
	config, err := readConfiguration(path)
	if err != nil {
		return managerContext{}, &usageError{err}
	}
	name := c.contextName
	if name == "" {
		name = config.CurrentContext
	}
	i := slices.IndexFunc(config.Contexts, func(m managerContext) bool { return m.Name == name })
	if i < 0 {
		return managerContext{}, &usageError{fmt.Errorf("%s: there is no context %q: choose with --context one of %q; `cyphonicctl init` writes a file with one", path, name, config.names())}
	}
	chosen := config.Contexts[i]
	if !filepath.IsAbs(chosen.Trust) {
		chosen.Trust = filepath.Join(filepath.Dir(path), chosen.Trust)
	}
	return chosen, nil
}

func (c configuration) names() (names []string) {
	for _, context := range c.Contexts {
		names = append(names, context.Name)
	}
	return names
}

func readConfiguration(path string) (configuration, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return configuration{}, fmt.Errorf("no configuration file %s: name one with --config; `cyphonicctl init` makes one", path)
	}
	if err != nil {
		return configuration{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return configuration{}, fmt.Errorf("%s holds a token but others can read it: run `chmod 600 %s`", path, path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return configuration{}, err
	}
	var config configuration
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		return configuration{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

func (m managerContext) connect() (*client.Client, error) {
	trust, err := identity.LoadTrust(m.Trust)
	if err != nil {
		return nil, &usageError{fmt.Errorf("context %s: %w", m.Name, err)}
	}
	if m.Token == "" {
		return nil, &usageError{fmt.Errorf("context %s has no token: use the file that `cyphonicctl init` wrote", m.Name)}
	}
	manager, err := client.New(client.Options{Server: m.Server, CA: trust.TLSCA, Token: client.StaticToken(m.Token)})
	if err != nil {
		return nil, &usageError{fmt.Errorf("context %s: %w", m.Name, err)}
	}
	return manager, nil
}
