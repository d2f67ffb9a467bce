//! The conversation between [`super::Sandbox`] and the supervisor over a socket pair.
//!
//! Layout: every message is a little-endian `u32` length and that much JSON. The first goes to the supervisor and
//! is the [`Spec`], its length accompanied by the command's stdin as an `SCM_RIGHTS` message when there is one. The
//! supervisor answers with [`Report`]s. One further byte to the supervisor, or the end of the stream, means *kill*.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::StartError;
use super::spec::Spec;

/// Largest message in bytes; a specification carries CA bundles and secrets.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

const LENGTH_BYTES: usize = 4;

/// What the supervisor says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The command runs; these mount points were made in the root filesystem.
    Started { created: Vec<String> },
    /// The command does not run.
    Failed(StartError),
    /// The command ended by itself.
    Exited(i32),
    /// A signal ended the command.
    Signaled(i32),
}

/// Sends the specification and, when given, the command's stdin.
pub(super) fn send_spec(
    socket: &mut UnixStream,
    json: &[u8],
    stdin: Option<OwnedFd>,
) -> std::io::Result<()> {
    let length = u32::try_from(json.len()).map_err(std::io::Error::other)?.to_le_bytes();
    let fds = stdin.as_ref().map(|fd| [fd.as_fd()]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let sent = sendmsg(&*socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&length[sent..])?;
    socket.write_all(json)
}

/// Receives what [`send_spec`] sent.
pub(super) fn receive_spec(socket: &mut UnixStream) -> std::io::Result<(Spec, Option<OwnedFd>)> {
    let mut length = [0; LENGTH_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        &*socket,
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let stdin = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    socket.read_exact(&mut length[received.bytes..])?;
    Ok((read_body(socket, length)?, stdin))
}

/// Writes one message.
pub(super) fn send<T: Serialize>(socket: &mut impl Write, message: &T) -> std::io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).map_err(std::io::Error::other)?.to_le_bytes();
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + json.len());
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&json);
    socket.write_all(&bytes)
}

/// Reads one message; none at the end of the stream.
pub(super) fn receive<T: DeserializeOwned>(socket: &mut impl Read) -> std::io::Result<Option<T>> {
    let mut length = [0; LENGTH_BYTES];
    match socket.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
        Ok(()) => read_body(socket, length).map(Some),
    }
}

fn read_body<T: DeserializeOwned>(
    socket: &mut impl Read,
    length: [u8; LENGTH_BYTES],
) -> std::io::Result<T> {
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(std::io::Error::other("sandbox message exceeds its limit"));
    }
    let mut json = vec![0; length];
    socket.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}
