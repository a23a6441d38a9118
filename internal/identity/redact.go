package identity

import "log/slog"

// redacted stands for a secret in every textual form of a value (String, GoString, JSON, slog).
const redacted = "[redacted]"

func (*DeviceKey) String() string               { return redacted }
func (*DeviceKey) GoString() string             { return redacted }
func (*DeviceKey) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (*DeviceKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (*RootKey) String() string               { return redacted }
func (*RootKey) GoString() string             { return redacted }
func (*RootKey) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (*RootKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (*Issuer) String() string               { return redacted }
func (*Issuer) GoString() string             { return redacted }
func (*Issuer) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (*Issuer) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (SealingKey) String() string               { return redacted }
func (SealingKey) GoString() string             { return redacted }
func (SealingKey) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (SealingKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (SignalKeys) String() string               { return redacted }
func (SignalKeys) GoString() string             { return redacted }
func (SignalKeys) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (SignalKeys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (Ticket) String() string               { return redacted }
func (Ticket) GoString() string             { return redacted }
func (Ticket) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Ticket) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (RelayToken) String() string               { return redacted }
func (RelayToken) GoString() string             { return redacted }
func (RelayToken) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (RelayToken) MarshalText() ([]byte, error) { return []byte(redacted), nil }
