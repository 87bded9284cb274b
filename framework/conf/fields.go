package conf

type fieldCache struct{}
