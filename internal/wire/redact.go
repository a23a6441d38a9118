package wire

import "log/slog"

// redacted stands for a secret in every textual form of a value (String, GoString, JSON, slog).
const redacted = "[redacted]"

func (Relay) String() string               { return redacted }
func (Relay) GoString() string             { return redacted }
func (Relay) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Relay) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (CredentialToken) String() string               { return redacted }
func (CredentialToken) GoString() string             { return redacted }
func (CredentialToken) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (CredentialToken) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (CredentialPassword) String() string               { return redacted }
func (CredentialPassword) GoString() string             { return redacted }
func (CredentialPassword) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (CredentialPassword) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (LoginResponse) String() string               { return redacted }
func (LoginResponse) GoString() string             { return redacted }
func (LoginResponse) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (LoginResponse) MarshalText() ([]byte, error) { return []byte(redacted), nil }
