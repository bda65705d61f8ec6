//! The table of C functions between SQLite and the system's file layer.
//!
//! SQLite gives each file `szOsFile` bytes. Ours begin with [`Shim`], and the system's own file follows right behind it.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libsqlite3_sys as ffi;

use crate::disk::{Change, Class, State};

/// Numbers the layers of a process.
static INSTALLED: AtomicU64 = AtomicU64::new(0);

/// What SQLite sees as a file of this layer.
#[repr(C)]
struct Shim {
    base: ffi::sqlite3_file,
    /// Owned; made by `open`, freed by `close`.
    about: *mut About,
}

struct About {
    state: Arc<State>,
    class: Class,
    /// `None` for files without a name, which nobody finds again after a power cut.
    path: Option<PathBuf>,
}

/// What the layer's own table holds in `pAppData`.
struct Layer {
    state: Arc<State>,
    system: *mut ffi::sqlite3_vfs,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

/// Registers a layer over the default one; answers its name. Both live until the process ends.
pub(crate) fn register(state: Arc<State>) -> Result<&'static str, i32> {
    let name = format!("switchyard-faults-{}", INSTALLED.fetch_add(1, Ordering::Relaxed));
    let c_name = CString::new(name.clone()).map_err(|_| ffi::SQLITE_MISUSE)?;
    // SAFETY: a null name asks for the default layer; SQLite initialises itself on the first call. The result is checked.
    let system = unsafe {
        let code = ffi::sqlite3_initialize();
        if code != ffi::SQLITE_OK {
            return Err(code);
        }
        ffi::sqlite3_vfs_find(ptr::null())
    };
    if system.is_null() {
        return Err(ffi::SQLITE_ERROR);
    }
    // SAFETY: SQLite's own layer is valid and never unregistered; it is plain data that may be copied.
    let mut vfs = unsafe { ptr::read(system) };
    let own = c_int::try_from(size_of::<Shim>()).map_err(|_| ffi::SQLITE_MISUSE)?;
    vfs.szOsFile += own;
    vfs.pNext = ptr::null_mut();
    vfs.zName = c_name.into_raw();
    vfs.pAppData = Box::into_raw(Box::new(Layer { state, system })).cast();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    // SAFETY: the table, its name and its data are leaked here and so outlive every use. The functions that were copied
    // with the table look at nothing of it but its longest path.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) };
    if code == ffi::SQLITE_OK { Ok(Box::leak(name.into_boxed_str())) } else { Err(code) }
}

/// # Safety
/// `vfs` is a table made by [`register`].
unsafe fn layer<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Layer {
    // SAFETY: `register` put a leaked `Layer` there.
    unsafe { &*(*vfs).pAppData.cast::<Layer>() }
}

/// # Safety
/// `file` was opened by [`open`] and is not closed yet.
unsafe fn about<'a>(file: *mut ffi::sqlite3_file) -> &'a About {
    // SAFETY: `open` put it there, `close` alone frees it.
    unsafe { &*(*file.cast::<Shim>()).about }
}

/// The system's own file behind ours, and its functions.
///
/// # Safety
/// As [`about`].
unsafe fn system<'a>(file: *mut ffi::sqlite3_file) -> (*mut ffi::sqlite3_file, &'a ffi::sqlite3_io_methods) {
    // SAFETY: SQLite gave `szOsFile` bytes, of which the system's file begins behind `Shim`; `open` opened it, so that
    // its functions are set.
    unsafe {
        let inner = file.cast::<Shim>().add(1).cast::<ffi::sqlite3_file>();
        (inner, &*(*inner).pMethods)
    }
}

/// Calls a function of the system's file layer, which the table always has.
macro_rules! pass {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls with an open file of ours and arguments that fit this function; they are passed on as
        // they came.
        unsafe {
            let (inner, methods) = system($file);
            match methods.$method {
                Some(call) => call(inner $(, $argument)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

fn class_of(flags: c_int) -> Class {
    match flags {
        flags if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 => Class::Db,
        flags if flags & ffi::SQLITE_OPEN_WAL != 0 => Class::Wal,
        _ => Class::Temp,
    }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with our table, a name that is null or ends with NUL, and `szOsFile` bytes for the file. Until
    // `pMethods` is set SQLite does not close it, and we set it only once the system's file is open.
    unsafe {
        (*file).pMethods = ptr::null();
        let layer = layer(vfs);
        if flags & ffi::SQLITE_OPEN_CREATE != 0 && name.is_null() {
            let refused = layer.state.make();
            if refused != ffi::SQLITE_OK {
                return refused;
            }
        }
        let inner = file.cast::<Shim>().add(1).cast::<ffi::sqlite3_file>();
        let Some(system_open) = (*layer.system).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = system_open(layer.system, name, inner, flags, out_flags);
        if code != ffi::SQLITE_OK {
            if let Some(methods) = (*inner).pMethods.as_ref()
                && let Some(system_close) = methods.xClose
            {
                system_close(inner);
            }
            return code;
        }
        let path = path(name);
        let about = About { state: layer.state.clone(), class: class_of(flags), path };
        let shim = file.cast::<Shim>();
        (*shim).about = Box::into_raw(Box::new(about));
        (*shim).base.pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

/// # Safety
/// `name` is null or ends with NUL.
unsafe fn path(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_path_buf())
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: SQLite calls with our table and a name that ends with NUL.
    unsafe {
        let layer = layer(vfs);
        let refused = layer.state.make();
        if refused != ffi::SQLITE_OK {
            return refused;
        }
        let Some(system_delete) = (*layer.system).xDelete else { return ffi::SQLITE_IOERR };
        let code = system_delete(layer.system, name, sync_dir);
        if let Some(path) = path(name) {
            layer.state.removed(&path);
        }
        code
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = pass!(file, xClose);
    // SAFETY: SQLite closes a file once and does not use it afterwards.
    unsafe {
        let shim = file.cast::<Shim>();
        drop(Box::from_raw((*shim).about));
        (*shim).base.pMethods = ptr::null();
    }
    code
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls with an open file of ours.
    let refused = unsafe { about(file) }.state.read();
    if refused != ffi::SQLITE_OK {
        return refused;
    }
    pass!(file, xRead, to, amount, offset)
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls with an open file of ours.
    let about = unsafe { about(file) };
    let refused = about.state.write(about.class);
    if refused != ffi::SQLITE_OK {
        return refused;
    }
    let length = usize::try_from(amount).unwrap_or(0);
    // SAFETY: SQLite gives `amount` bytes to be written.
    let new = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) };
    let start = offset.unsigned_abs();
    let noted = about.path.as_ref().map(|path| (path, size(file), old(file, start, length)));
    let code = pass!(file, xWrite, from, amount, offset);
    if let (ffi::SQLITE_OK, Some((path, old_size, old))) = (code, noted) {
        about.state.changed(path, Change::Write { offset: start, old, new: new.to_vec(), old_size });
    }
    code
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, to: i64) -> c_int {
    // SAFETY: SQLite calls with an open file of ours.
    let about = unsafe { about(file) };
    let refused = about.state.write(about.class);
    if refused != ffi::SQLITE_OK {
        return refused;
    }
    let (old_size, new_size) = (size(file), to.unsigned_abs());
    let cut = usize::try_from(old_size.saturating_sub(new_size)).unwrap_or(0);
    let old = old(file, new_size, cut);
    let code = pass!(file, xTruncate, to);
    if let (ffi::SQLITE_OK, Some(path)) = (code, &about.path) {
        about.state.changed(path, Change::Truncate { old, old_size, new_size });
    }
    code
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite calls with an open file of ours.
    let about = unsafe { about(file) };
    let refused = about.state.sync(about.class);
    if refused != ffi::SQLITE_OK {
        return refused;
    }
    let code = if about.state.syncs_for_real() { pass!(file, xSync, flags) } else { ffi::SQLITE_OK };
    if let (ffi::SQLITE_OK, Some(path)) = (code, &about.path) {
        about.state.synced(path);
    }
    code
}

/// Size of the system's file now.
fn size(file: *mut ffi::sqlite3_file) -> u64 {
    let mut size = 0;
    let code = pass!(file, xFileSize, &raw mut size);
    if code == ffi::SQLITE_OK { size.unsigned_abs() } else { 0 }
}

/// What the system's file holds there, as far as it reaches.
fn old(file: *mut ffi::sqlite3_file, offset: u64, length: usize) -> Vec<u8> {
    let reaches = usize::try_from(size(file).saturating_sub(offset)).unwrap_or(0).min(length);
    let mut old = vec![0u8; reaches];
    let (Ok(amount), Ok(at)) = (c_int::try_from(reaches), i64::try_from(offset)) else { return old };
    if reaches > 0 {
        pass!(file, xRead, old.as_mut_ptr().cast(), amount, at);
    }
    old
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    pass!(file, xFileSize, size)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, kind: c_int) -> c_int {
    pass!(file, xLock, kind)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, kind: c_int) -> c_int {
    pass!(file, xUnlock, kind)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, out)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    pass!(file, xFileControl, what, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    pass!(file, xShmMap, page, size, extend, out)
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    pass!(file, xShmLock, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: SQLite calls with an open file of ours.
    unsafe {
        let (inner, methods) = system(file);
        if let Some(call) = methods.xShmBarrier {
            call(inner);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, delete)
}

/// Nothing is mapped: SQLite reads and writes instead, which this layer sees.
unsafe extern "C" fn fetch(_: *mut ffi::sqlite3_file, _: i64, _: c_int, out: *mut *mut c_void) -> c_int {
    // SAFETY: SQLite gives a place for the answer; null says that there is no mapping.
    unsafe { *out = ptr::null_mut() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn unfetch(_: *mut ffi::sqlite3_file, _: i64, _: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}
