pub(crate) struct Head;
